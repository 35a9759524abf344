/* SPDX-License-Identifier: Apache-2.0 */
/* KEK providers by URI, on real files. */
#include "base/mem.h"
#include "kek/kek_open.h"
#include "keyring/keyring.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], path[128], uri[160];
static struct kek *kek;
static struct coffer_error err;

static int
setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/coffer-kek-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/secret", folder);
    kek = NULL;
    memset(&err, 0, sizeof err);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    kek_close(kek);
    unlink(path);
    rmdir(folder);
    assert_int_equal(secret_live_count(), 0);
    return 0;
}

static void
write_secret(const void *data, size_t len, mode_t mode)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static int
open_uri(const char *scheme)
{
    snprintf(uri, sizeof uri, "%s%s", scheme, path);
    return kek_open(uri, &os_real, NULL, NULL, &kek, &err);
}

static void
prepare_makes_a_key_once(void **state)
{
    struct stat st;
    char first[32], second[32];
    bool made;
    FILE *f;

    (void)state;
    snprintf(uri, sizeof uri, "file:%s", path);
    assert_int_equal(kek_prepare(uri, &os_real, &made, NULL), COFFER_OK);
    assert_true(made);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, 32);
    f = fopen(path, "r");
    assert_int_equal(fread(first, 1, 32, f), 32);
    fclose(f);
    assert_int_equal(kek_prepare(uri, &os_real, &made, NULL), COFFER_OK);
    assert_false(made);
    f = fopen(path, "r");
    assert_int_equal(fread(second, 1, 32, f), 32);
    fclose(f);
    assert_memory_equal(first, second, 32);
    assert_int_equal(open_uri("file:"), COFFER_OK);
    assert_int_equal(kek->kind, COFFER_KEK_KEY);
}

static void
a_key_file_has_32_bytes(void **state)
{
    static const size_t wrong[] = {1, 31, 33, 64, 5000};
    static const uint8_t bytes[5000];

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        write_secret(bytes, wrong[i], 0600);
        assert_int_equal(open_uri("file:"), COFFER_E_FORMAT);
        assert_non_null(strstr(err.message, path));
        assert_null(kek);
    }
    write_secret(bytes, 0, 0600);
    assert_int_equal(open_uri("file:"), COFFER_E_FORMAT);
    unlink(path);
    assert_int_equal(open_uri("file:"), COFFER_E_NOTFOUND);
}

static void
a_file_that_others_can_read_is_refused(void **state)
{
    static const mode_t modes[] = {0640, 0604, 0644, 0440};
    static const uint8_t bytes[32] = {1};

    (void)state;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        write_secret(bytes, sizeof bytes, modes[i]);
        assert_int_equal(open_uri("file:"), COFFER_E_REFUSED);
        assert_int_equal(open_uri("passphrase:"), COFFER_E_REFUSED);
        assert_non_null(strstr(err.message, "chmod 600"));
        unlink(path);
    }
    snprintf(uri, sizeof uri, "file:%s", folder);
    assert_int_equal(kek_open(uri, &os_real, NULL, NULL, &kek, &err), COFFER_E_REFUSED);
    write_secret(bytes, sizeof bytes, 0400);
    assert_int_equal(open_uri("file:"), COFFER_OK);
}

static void
unknown_schemes_list_the_known_and_repeat_nothing(void **state)
{
    static const char *const uris[] = {"hunter2", "", "hunter2:x", "File:x", "passphrase", "file:"};

    (void)state;
    for (size_t i = 0; i < sizeof uris / sizeof uris[0]; i++) {
        assert_int_equal(kek_open(uris[i], &os_real, NULL, NULL, &kek, &err), COFFER_E_MISUSE);
        assert_non_null(strstr(err.message, "file:PATH"));
        assert_non_null(strstr(err.message, "passphrase:FILE"));
        assert_null(strstr(err.message, "hunter2"));
    }
    assert_int_equal(kek_open("passphrase:hunter2", &os_real, NULL, NULL, &kek, &err),
                     COFFER_E_NOTFOUND);
    assert_null(strstr(err.message, "hunter2")); /* somebody took it for the place of the secret */
    assert_int_equal(kek_open("passphrase:", &os_real, NULL, NULL, &kek, &err), COFFER_E_REFUSED);
}

static unsigned asked;
static bool confirmed;

static int
answer(void *arg, const char *question, bool confirm, struct secret **out, struct coffer_error *e)
{
    (void)question;
    asked++;
    confirmed = confirm;
    return secret_copy(bytes_str(arg), out, e);
}

/* Made at a prompt, opened from a file: the line end is no part of it, and the prompt is asked
 * once. */
static void
a_passphrase_is_the_same_from_prompt_and_file(void **state)
{
    char phrase[] = "grüne Äpfel", wrong[] = "rote Äpfel";
    struct keyring *kr, *back;
    struct kek *prompted, *mistaken;
    struct buf file;

    (void)state;
    asked = 0;
    buf_init(&file, KEYRING_FILE_MAX);
    assert_int_equal(kek_open("passphrase:", &os_real, answer, phrase, &prompted, NULL), COFFER_OK);
    assert_int_equal(asked, 0);
    assert_int_equal(keyring_new(prompted, "test", 1, &kr, NULL), COFFER_OK);
    assert_true(confirmed); /* a new one is typed twice */
    assert_int_equal(keyring_encode(kr, &file, NULL), COFFER_OK);
    assert_int_equal(keyring_kek_kind(kr), COFFER_KEK_PASSPHRASE);
    assert_int_equal(keyring_decode(buf_view(&file), prompted, &back, NULL), COFFER_OK);
    assert_int_equal(asked, 1);
    keyring_free(back);
    kek_close(prompted);

    assert_int_equal(kek_open("passphrase:", &os_real, answer, wrong, &mistaken, NULL), COFFER_OK);
    assert_int_equal(keyring_decode(buf_view(&file), mistaken, &back, &err), COFFER_E_KEK);
    assert_string_equal(err.message, "wrong passphrase, or the keyring was edited");
    assert_false(confirmed);
    kek_close(mistaken);

    write_secret("grüne Äpfel\r\nanother line\n", strlen("grüne Äpfel\r\nanother line\n"), 0600);
    assert_int_equal(open_uri("passphrase:"), COFFER_OK);
    assert_int_equal(keyring_decode(buf_view(&file), kek, &back, NULL), COFFER_OK);
    keyring_free(back);
    keyring_free(kr);
    buf_wipe(&file);
}

static void
a_passphrase_is_text_and_not_empty(void **state)
{
    uint8_t long_one[KEK_PASSPHRASE_MAX + 1];

    (void)state;
    write_secret("\nsecond line", 12, 0600);
    assert_int_equal(open_uri("passphrase:"), COFFER_E_FORMAT);
    write_secret("\xff\xfe", 2, 0600);
    assert_int_equal(open_uri("passphrase:"), COFFER_E_MISUSE);
    memset(long_one, 'x', sizeof long_one);
    assert_int_equal(kek_passphrase_new(bytes_of(long_one, sizeof long_one), &kek, NULL),
                     COFFER_E_LIMIT);
    assert_int_equal(kek_passphrase_new(bytes_str(""), &kek, NULL), COFFER_E_MISUSE);
    assert_int_equal(kek_key_new(bytes_str("short"), &kek, NULL), COFFER_E_MISUSE);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(prepare_makes_a_key_once),
        TEST(a_key_file_has_32_bytes),
        TEST(a_file_that_others_can_read_is_refused),
        TEST(unknown_schemes_list_the_known_and_repeat_nothing),
        TEST(a_passphrase_is_the_same_from_prompt_and_file),
        TEST(a_passphrase_is_text_and_not_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
