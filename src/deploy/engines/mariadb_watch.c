/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of a MariaDB that runs: no more writes, its settings, its rows. */
#include "deploy/engines/account.h"
#include "deploy/engines/internal.h"
#include "deploy/engines/mariadb.h"

#include <stdio.h>
#include <string.h>

/* ---- read only ----
 *
 * Setting read_only takes the global read lock first, so it waits for commits under way; a transaction that is open afterwards fails when it
 * commits, unless its user has READ_ONLY ADMIN, which no application has.  A session that sits in a transaction could hold it
 * up for ever: it is ended after a grace. */

static int
end_sessions(const struct engine_place *place, struct coffer_error *err)
{
    char name[256];
    struct buf sql, kills;
    int rc = account_name(place->uid, name, sizeof name, err);

    buf_init(&sql, 4096);
    buf_init(&kills, OUTPUT_MAX);
    buf_format(&sql,
               "SELECT CONCAT('KILL ', id, ';') FROM information_schema.processlist WHERE user NOT "
               "IN ('%s', 'system user', 'event_scheduler');\n",
               name);
    if (rc == COFFER_OK)
        rc = mariadb_sql(place, NULL, buf_cstr(&sql), &kills, err);
    if (rc == COFFER_OK && kills.len > 0)
        (void)!mariadb_sql(place, NULL, buf_cstr(&kills), NULL,
                           NULL); /* one that has ended meanwhile is no error */
    buf_wipe(&kills);
    buf_wipe(&sql);
    return rc;
}

int
mariadb_read_only(const struct engine_place *place, bool on, struct coffer_error *err)
{
    int rc;

    if (!on) {
        rc = place_remove(place, MARIADB_READ_ONLY, err);
        return rc != COFFER_OK ? rc
                               : mariadb_sql(place, NULL, "SET GLOBAL read_only = 0;\n", NULL, err);
    }
    rc = place_write(place, MARIADB_READ_ONLY, bytes_of(NULL, 0), err);
    if (rc != COFFER_OK ||
        mariadb_sql(place, NULL, "SET lock_wait_timeout = 3; SET GLOBAL read_only = 1;\n", NULL,
                    NULL) == COFFER_OK)
        return rc;
    rc = end_sessions(place, err);
    return rc != COFFER_OK
               ? rc
               : mariadb_sql(place, NULL, "SET lock_wait_timeout = 30; SET GLOBAL read_only = 1;\n",
                             NULL, err);
}

/* ---- census ---- */

/* Tables without their database, which a restored copy has under another name. */
static const char census_form[] =
    "SELECT CONCAT('SELECT JSON_ARRAY(', QUOTE(table_name), ', COUNT(*)) FROM `', "
    "REPLACE(table_name, '`', '``'), '`;')"
    " FROM information_schema.tables WHERE table_schema = '%s' AND table_type IN ('BASE TABLE', "
    "'SYSTEM VERSIONED') ORDER BY table_name;\n";

int
mariadb_census(const struct engine_place *place, json_t **out, struct coffer_error *err)
{
    static const char begin[] = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;\n";
    struct buf sql, lines;
    int rc;

    *out = NULL;
    buf_init(&sql, OUTPUT_MAX);
    buf_init(&lines, OUTPUT_MAX);
    buf_format(&sql, census_form, place->name);
    rc = mariadb_sql(place, place->name, buf_cstr(&sql), &lines, err);
    buf_clear(&sql);
    buf_str(&sql, begin);
    buf_bytes(&sql, buf_view(&lines));
    buf_clear(&lines);
    if (rc == COFFER_OK)
        rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = mariadb_sql(place, place->name, buf_cstr(&sql), &lines, err);
    if (rc == COFFER_OK)
        rc = census_read(buf_view(&lines), out, err);
    buf_wipe(&lines);
    buf_wipe(&sql);
    return rc;
}

/* ---- doctor ---- */

static const struct {
    const char *name, *wanted, *state, *advice;
} settings[] = {
    {"innodb_flush_log_at_trx_commit", "1", "fail",
     "a crash loses commits that clients were told of; SET GLOBAL it back"},
    {"innodb_doublewrite", "ON", "fail", "a crash can leave torn pages; restart the database"},
    {"innodb_use_native_aio", "OFF", "warn",
     "asynchronous requests gain nothing on a volume; restart the database"},
    {"innodb_checksum_algorithm", "full_crc32", "warn", "damaged pages pass for good ones"},
    {"require_secure_transport", "ON", "fail",
     "passwords and data cross the network in clear; SET GLOBAL it back"},
    {"have_ssl", "YES", "fail", "the server did not take its certificate: see the log"},
    {"general_log", "OFF", "warn", "the log has the application's data in it; SET GLOBAL it back"},
    {"slow_query_log", "OFF", "warn",
     "the log has the application's data in it; SET GLOBAL it back"},
    {"local_infile", "OFF", "warn", "a client can be made to send its files; SET GLOBAL it back"},
};

static int
check_all(const char *lines, engine_check_fn fn, void *arg, struct coffer_error *err)
{
    char seen[64];
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < sizeof settings / sizeof *settings; i++) {
        line_value(lines, settings[i].name, '\t', seen, sizeof seen);
        rc = check_setting(settings[i].name, seen, settings[i].wanted, settings[i].state,
                           settings[i].advice, fn, arg, err);
    }
    return rc;
}

int
mariadb_doctor(const struct engine_place *place, engine_check_fn fn, void *arg,
               struct coffer_error *err)
{
    struct buf out;
    int rc;

    buf_init(&out, OUTPUT_MAX);
    rc = mariadb_sql(place, NULL, "SHOW GLOBAL VARIABLES;\n", &out, err);
    if (rc == COFFER_OK)
        rc = check_all(buf_cstr(&out), fn, arg, err);
    buf_wipe(&out);
    return rc;
}
