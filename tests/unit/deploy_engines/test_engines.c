/* SPDX-License-Identifier: Apache-2.0 */
/* What engines have in common, and the certificates of their ports.  The servers themselves are tested in integration/deploy. */
#include "crypto/x509.h"
#include "deploy/engines/internal.h"
#include "deploy/engines/tls.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static int
make_folder(void **state)
{
    strcpy(folder, "/tmp/coffer-engines-XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int
remove_folder(void **state)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* ---- text ---- */

static void
a_version_is_the_first_number_with_a_point(void **state)
{
    char version[32];
    unsigned major;

    assert_true(
        version_read("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)", version, &major));
    assert_string_equal(version, "15.20");
    assert_int_equal(major, 15);
    assert_true(version_read("mariadbd  Ver 10.11.19-MariaDB for debian-linux-gnu on x86_64",
                             version, &major));
    assert_string_equal(version, "10.11.19");
    assert_int_equal(major, 10);
    assert_false(version_read("no version, 12 of none", version, &major));
    assert_false(version_read("1.1111111111111111111111111111111111111111", version, &major));
}

static void
a_url_names_what_a_client_can_reach(void **state)
{
    static const char *const cases[][2] = {
        {"127.0.0.1", "127.0.0.1"}, {"0.0.0.0", "127.0.0.1"}, {"*", "127.0.0.1"},
        {"::1", "[::1]"},           {"::", "[::1]"},          {"db.example", "db.example"}};
    struct buf out;
    size_t i;

    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_init(&out, 100);
        url_host(cases[i][0], &out);
        assert_string_equal(buf_cstr(&out), cases[i][1]);
        buf_wipe(&out);
    }
}

static void
what_is_special_in_a_url_is_escaped(void **state)
{
    struct buf out;

    buf_init(&out, 100);
    url_escape("/a b/c&d?e%f\xc3\xa9", &out);
    assert_string_equal(buf_cstr(&out), "/a%20b/c%26d%3Fe%25f%C3%A9");
    buf_wipe(&out);
}

static void
a_census_is_lines_of_names_and_rows(void **state)
{
    struct coffer_error err = {0};
    json_t *census = NULL;

    assert_int_equal(
        census_read(bytes_str("[\"public.t\", 5]\n\n[\"a \\\"b\\\"\", 0]\n"), &census, &err),
        COFFER_OK);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(census, "tables"), "public.t")), 5);
    assert_int_equal(json_object_size(json_object_get(census, "tables")), 2);
    json_decref(census);
    census = (void *)state;
    assert_int_equal(census_read(bytes_str("[\"t\", 5]\nERROR: no\n"), &census, &err),
                     COFFER_E_FORMAT);
    assert_null(census);
}

static void
a_value_is_found_by_its_whole_name(void **state)
{
    char seen[16];

    line_value("xfsync=a\nfsync_more=b\nfsync=on\n", "fsync", '=', seen, sizeof seen);
    assert_string_equal(seen, "on");
    line_value("port\n0\nsave\n", "port", '\n', seen, sizeof seen);
    assert_string_equal(seen, "0");
    line_value("fsync_more=b\n", "fsync", '=', seen, sizeof seen);
    assert_string_equal(seen, "");
}

static int
keep_state(void *arg, const struct engine_check *check, struct coffer_error *err)
{
    snprintf(arg, 200, "%s: %s", check->state, check->text);
    return COFFER_OK;
}

static void
a_setting_that_is_wrong_says_what_to_do(void **state)
{
    char said[200];

    assert_int_equal(
        check_setting("fsync", "ON", "on", "fail", "turn it on", keep_state, said, NULL),
        COFFER_OK);
    assert_string_equal(said, "ok: it is ON");
    assert_int_equal(
        check_setting("fsync", "off", "on", "fail", "turn it on", keep_state, said, NULL),
        COFFER_OK);
    assert_string_equal(said, "fail: it is off and should be on: turn it on");
}

static void
engines_are_found_by_name(void **state)
{
    assert_ptr_equal(engine_find("postgresql"), &engine_postgresql);
    assert_ptr_equal(engine_find("sqlite"), &engine_sqlite);
    assert_null(engine_find("postgres"));
}

/* ---- certificates ---- */

static int64_t clock_us;

static int64_t
set_clock(const struct os *os)
{
    return clock_us;
}

static void
in_folder(char out[256], const char *name)
{
    snprintf(out, 256, "%s/%s", folder, name);
}

static void
a_certificate_is_renewed_near_its_end_and_not_before(void **state)
{
    struct os os = os_real;
    char authority[256], server[256], ca[256];
    struct stat st;
    bool renewed;

    os.now_us = set_clock;
    clock_us = os_real.now_us(&os_real);
    in_folder(authority, "tls");
    in_folder(server, "server");
    in_folder(ca, "tls/authority.pem");
    assert_int_equal(tls_server(&os, authority, server, "127.0.0.1", 0, 0, &renewed, NULL),
                     COFFER_OK);
    assert_true(renewed);
    assert_int_equal(stat(ca, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(tls_server(&os, authority, server, "127.0.0.1", 0, 0, &renewed, NULL),
                     COFFER_OK);
    assert_false(renewed);
    assert_int_equal(tls_server(&os, authority, server, "192.0.2.7", 0, 0, &renewed, NULL),
                     COFFER_OK);
    assert_true(renewed); /* another address */
    clock_us += 660 * INT64_C(86400) * 1000000;
    assert_int_equal(tls_server(&os, authority, server, "192.0.2.7", 0, 0, &renewed, NULL),
                     COFFER_OK);
    assert_false(renewed);
    clock_us += 20 * INT64_C(86400) * 1000000;
    assert_int_equal(tls_server(&os, authority, server, "192.0.2.7", 0, 0, &renewed, NULL),
                     COFFER_OK);
    assert_true(renewed);
}

static void
a_damaged_authority_is_kept_and_named(void **state)
{
    struct coffer_error err = {0};
    char dir[256], path[256];
    struct buf left;

    in_folder(dir, "damaged");
    in_folder(path, "damaged/authority.pem");
    assert_int_equal(tls_authority(&os_real, dir, NULL), COFFER_OK);
    assert_int_equal(os_real.write_file(&os_real, path, bytes_str("nonsense"), 0600, false, NULL),
                     COFFER_OK);
    assert_int_equal(tls_authority(&os_real, dir, &err), COFFER_E_FORMAT);
    assert_non_null(strstr(err.message, path));
    buf_init(&left, 100);
    assert_int_equal(os_real.read_file(&os_real, path, 100, &left, NULL), COFFER_OK);
    assert_string_equal(buf_cstr(&left), "nonsense");
    buf_wipe(&left);
}

static void
a_certificate_holds_for_its_names_and_its_authority_alone(void **state)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "::1", NULL},
                             *const other[] = {"example.org", NULL},
                             *const hostile[] = {"a,DNS:b", NULL};
    struct secret *key = NULL, *stranger_key = NULL, *server_key = NULL;
    struct buf authority, stranger, certificate, both;
    int64_t until = 0;

    buf_init(&authority, 4000);
    buf_init(&stranger, 4000);
    buf_init(&certificate, 4000);
    buf_init(&both, 8000);
    assert_int_equal(x509_authority("one", 1000000, 2000000000, &key, &authority, NULL), COFFER_OK);
    assert_int_equal(x509_authority("one", 1000000, 2000000000, &stranger_key, &stranger, NULL),
                     COFFER_OK);
    assert_int_equal(x509_server(secret_expose(key), buf_view(&authority), names, 1000000,
                                 1900000000, &server_key, &certificate, NULL),
                     COFFER_OK);
    assert_int_equal(x509_until(buf_view(&certificate), &until, NULL), COFFER_OK);
    assert_int_equal(until, 1900000000);
    buf_bytes(&both, buf_view(&certificate));
    buf_bytes(&both, secret_expose(server_key));
    assert_int_equal(x509_server_check(buf_view(&both), buf_view(&authority), names, NULL),
                     COFFER_OK);
    assert_int_equal(x509_server_check(buf_view(&both), buf_view(&stranger), names, NULL),
                     COFFER_E_AUTH);
    assert_int_equal(x509_server_check(buf_view(&both), buf_view(&authority), other, NULL),
                     COFFER_E_AUTH);
    buf_clear(&both);
    buf_bytes(&both, buf_view(&certificate));
    buf_bytes(&both, secret_expose(key)); /* not its key */
    assert_int_equal(x509_server_check(buf_view(&both), buf_view(&authority), names, NULL),
                     COFFER_E_AUTH);
    secret_free(server_key);
    assert_int_equal(x509_server(secret_expose(stranger_key), buf_view(&authority), names, 0, 1,
                                 &server_key, &certificate, NULL),
                     COFFER_E_FORMAT);
    assert_null(server_key);
    assert_int_equal(x509_server(secret_expose(key), buf_view(&authority), hostile, 0, 1,
                                 &server_key, &certificate, NULL),
                     COFFER_E_MISUSE);
    assert_null(server_key);
    secret_free(key);
    secret_free(stranger_key);
    buf_wipe(&both);
    buf_wipe(&certificate);
    buf_wipe(&stranger);
    buf_wipe(&authority);
    assert_int_equal(secret_live_count(), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_version_is_the_first_number_with_a_point),
        cmocka_unit_test(a_url_names_what_a_client_can_reach),
        cmocka_unit_test(what_is_special_in_a_url_is_escaped),
        cmocka_unit_test(a_census_is_lines_of_names_and_rows),
        cmocka_unit_test(a_value_is_found_by_its_whole_name),
        cmocka_unit_test(a_setting_that_is_wrong_says_what_to_do),
        cmocka_unit_test(engines_are_found_by_name),
        cmocka_unit_test(a_certificate_is_renewed_near_its_end_and_not_before),
        cmocka_unit_test(a_damaged_authority_is_kept_and_named),
        cmocka_unit_test(a_certificate_holds_for_its_names_and_its_authority_alone),
    };

    return cmocka_run_group_tests_name("engines", tests, make_folder, remove_folder);
}
