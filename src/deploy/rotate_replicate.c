/* SPDX-License-Identifier: Apache-2.0 */
/* database.rotate by the method "replicate": PostgreSQL's logical replication fills the next generation while the old one is used.
 *
 *   begin … server   as for dump and restore
 *   schema      tables without their rows; a digest of the definitions is kept
 *   subscribe   the new one copies the rows and follows
 *   follow      until it is close behind
 *   switch      no more writes; it catches up to the last of them; sequences; both compared; then the switch
 *
 * What logical replication does not carry is refused before (large objects) or found at the switch (definitions that changed).
 */
#include "deploy/rotate.h"

#include "base/error.h"
#include "crypto/crypto.h"
#include "deploy/engines/postgresql.h"

#include <stdlib.h>
#include <string.h>

#define NAME "coffer_rotation"
#define POLL_MS 200
#define CATCH_UP_MS 120000
#define CLOSE_BYTES (1u << 20)

static int
ask(const struct database_place *place, const char *sql, struct buf *out, struct coffer_error *err)
{
    if (out != NULL)
        buf_clear(out);
    return postgresql_sql(&place->place, place->place.name, sql, out, err);
}

static int
ask_number(const struct database_place *place, const char *sql, int64_t *out,
           struct coffer_error *err)
{
    struct buf text;
    int rc;

    buf_init(&text, 4096);
    rc = ask(place, sql, &text, err);
    *out = rc == COFFER_OK ? (int64_t)strtoll(buf_cstr(&text), NULL, 10) : 0;
    buf_wipe(&text);
    return rc;
}

/* Definitions as text, without what says when and by whom it was written. */
static int
definitions(const struct database_place *place, struct buf *out, struct coffer_error *err)
{
    struct process_spec spec = {0};
    int rc = postgresql_client(&place->place, "pg_dump", &spec, err);

    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "--schema-only");
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "--no-publications");
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "--no-subscriptions");
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "--dbname=%s", place->place.name);
    if (rc == COFFER_OK)
        rc = process_run(&spec, bytes_of(NULL, 0), out, NULL, NULL, err);
    process_spec_clear(&spec);
    return rc;
}

/* Newer pg_dump writes \restrict lines with a random word. */
static int
digest(struct buf *text, char out[65], struct coffer_error *err)
{
    struct buf plain;
    uint8_t hash[32];
    char *save = NULL;
    int rc;

    buf_init(&plain, 16u << 20);
    (void)buf_cstr(text);
    for (char *line = strtok_r((char *)text->ptr, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save))
        if (line[0] != '\\' && strncmp(line, "--", 2) != 0 &&
            strstr(line, " REPLICA IDENTITY ") == NULL)
            buf_format(&plain, "%s\n", line);
    rc = buf_status(&plain, err);
    if (rc == COFFER_OK)
        rc = sha256(buf_view(&plain), hash, err);
    if (rc == COFFER_OK)
        hex_encode(bytes_of(hash, 32), out);
    buf_wipe(&plain);
    return rc;
}

/* ---- steps ---- */

static int
load_schema(struct job *job, const struct copy *copy, struct coffer_error *err)
{
    int64_t tables = 0, objects = 0;
    struct buf text;
    char hash[65];
    int rc =
        ask_number(&copy->from, "SELECT count(*) FROM pg_largeobject_metadata;", &objects, err);

    if (rc == COFFER_OK && objects > 0)
        return error_set(err, COFFER_E_UNSUPPORTED,
                         "the database has %lld large objects, which logical replication does not "
                         "carry: use the "
                         "method online or dump-restore",
                         (long long)objects);
    buf_init(&text, 16u << 20);
    if (rc == COFFER_OK)
        rc = ask_number(
            &copy->to,
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', "
            "'information_schema');",
            &tables, err);
    if (rc == COFFER_OK)
        rc = definitions(&copy->from, &text, err);
    if (rc == COFFER_OK && tables == 0) {
        struct buf sql;

        buf_init(&sql, 16u << 20);
        buf_bytes(&sql, buf_view(&text));
        rc = buf_status(&sql, err);
        if (rc == COFFER_OK)
            rc = postgresql_sql(&copy->to.place, copy->to.place.name, buf_cstr(&sql), NULL, err);
        buf_wipe(&sql);
    }
    if (rc == COFFER_OK)
        rc = digest(&text, hash, err);
    buf_wipe(&text);
    if (rc == COFFER_OK) {
        (void)json_object_set_new(job->memory, "definitions", json_string(hash));
        rc = job_remember(job, err);
    }
    return rc;
}

static int
step_schema(struct job *job, struct coffer_error *err)
{
    struct copy copy;
    int rc = copy_places(job, &copy, err);

    if (rc == COFFER_OK)
        rc = copy_server(job, err);
    if (rc == COFFER_OK)
        rc = load_schema(job, &copy, err);
    copy_wipe(&copy);
    return rc;
}

/* Tables without a key are told apart by all of their columns. */
static const char publish[] =
    "SELECT format('ALTER TABLE %I.%I REPLICA IDENTITY FULL', n.nspname, c.relname) FROM pg_class c"
    " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND "
    "c.relreplident = 'd'"
    " AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
    " AND NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) "
    "\\gexec\n"
    "SELECT 'CREATE PUBLICATION " NAME
    " FOR ALL TABLES' WHERE NOT EXISTS (SELECT 1 FROM pg_publication WHERE pubname = '" NAME
    "') \\gexec\n";

static int
subscribe(const struct copy *copy, struct coffer_error *err)
{
    struct buf sql, connection;
    int64_t there = 0;
    int rc = ask(&copy->from, publish, NULL, err);

    if (rc == COFFER_OK)
        rc = ask_number(&copy->to,
                        "SELECT count(*) FROM pg_subscription WHERE subname = '" NAME "';", &there,
                        err);
    if (rc != COFFER_OK || there > 0)
        return rc;
    /* A slot without its subscription is what a run left that died in between. */
    rc = ask(&copy->from,
             "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name "
             "= '" NAME "' AND NOT active;",
             NULL, err);
    buf_init(&sql, 8192);
    buf_init(&connection, 4096);
    if (rc == COFFER_OK)
        rc = postgresql_conninfo(&copy->from.place, copy->from.place.name, &connection, err);
    if (rc == COFFER_OK) {
        const char *text = buf_cstr(&connection);

        buf_str(&sql, "CREATE SUBSCRIPTION " NAME " CONNECTION '");
        for (; *text != '\0'; text++) {
            buf_add(&sql, text, 1);
            if (*text == '\'')
                buf_add(&sql, text, 1);
        }
        buf_str(&sql, "' PUBLICATION " NAME ";\n");
        rc = buf_status(&sql, err);
    }
    if (rc == COFFER_OK)
        rc = ask(&copy->to, buf_cstr(&sql), NULL, err);
    buf_wipe(&sql);
    buf_wipe(&connection);
    return rc;
}

static int
step_subscribe(struct job *job, struct coffer_error *err)
{
    struct copy copy;
    int rc = copy_places(job, &copy, err);

    if (rc == COFFER_OK)
        rc = copy_server(job, err);
    if (rc == COFFER_OK)
        rc = subscribe(&copy, err);
    copy_wipe(&copy);
    return rc;
}

static const char behind_sql[] = "SELECT coalesce((SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), "
                                 "confirmed_flush_lsn)::bigint FROM pg_replication_slots"
                                 " WHERE slot_name = '" NAME "'), 1 << 30);";
static const char copying_sql[] =
    "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r';";

/* Rows copied, and at most `most` bytes of changes behind. */
static int
follow(struct job *job, const struct copy *copy, int64_t most, int64_t wait_ms,
       struct coffer_error *err)
{
    int64_t until = job->deploy->os->monotonic_ms(job->deploy->os) + wait_ms, behind = 0,
            copying = 0, bytes = 0;
    int rc = COFFER_OK;

    for (;;) {
        if (rc == COFFER_OK)
            rc = ask_number(&copy->to, copying_sql, &copying, err);
        if (rc == COFFER_OK)
            rc = ask_number(&copy->from, behind_sql, &behind, err);
        if (rc == COFFER_OK)
            rc = ask_number(&copy->to, "SELECT pg_database_size(current_database());", &bytes, err);
        if (rc != COFFER_OK || (copying == 0 && behind <= most))
            break;
        job_progress(job, (uint64_t)bytes, 0, "bytes");
        if (job_cancelled(job))
            return error_set(err, COFFER_E_CANCELLED, "stopped, as asked");
        if (wait_ms > 0 && job->deploy->os->monotonic_ms(job->deploy->os) > until)
            return error_set(err, COFFER_E_NOTYET,
                             "the new database is %lld bytes behind and does not catch up",
                             (long long)behind);
        job->deploy->os->sleep_ms(job->deploy->os, POLL_MS);
    }
    (void)json_object_set_new(job->memory, "bytes", json_integer(bytes));
    return rc;
}

static int
step_follow(struct job *job, struct coffer_error *err)
{
    struct copy copy;
    int rc = copy_places(job, &copy, err);

    if (rc == COFFER_OK)
        rc = copy_server(job, err);
    if (rc == COFFER_OK)
        rc = follow(job, &copy, CLOSE_BYTES, 0, err);
    copy_wipe(&copy);
    return rc;
}

/* What a server has written before its last write was acknowledged, the other one has flushed. */
static int
catch_up(struct job *job, const struct copy *copy, struct coffer_error *err)
{
    int64_t until = job->deploy->os->monotonic_ms(job->deploy->os) + CATCH_UP_MS, left = 1;
    struct buf lsn, sql;
    int rc;

    buf_init(&lsn, 256);
    buf_init(&sql, 1024);
    rc = ask(&copy->from, "SELECT pg_current_wal_insert_lsn();", &lsn, err);
    while (lsn.len > 0 && lsn.ptr[lsn.len - 1] <= ' ')
        lsn.len--;
    buf_format(&sql,
               "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '" NAME
               "' AND confirmed_flush_lsn < '%s';",
               buf_cstr(&lsn));
    /* The other side reports what it has when something new comes, or every few seconds. */
    while (rc == COFFER_OK && left > 0) {
        rc = ask(&copy->from, "SELECT pg_logical_emit_message(true, 'coffer', '');", NULL, err);
        if (rc == COFFER_OK)
            rc = ask_number(&copy->from, buf_cstr(&sql), &left, err);
        if (rc == COFFER_OK && left > 0) {
            if (job->deploy->os->monotonic_ms(job->deploy->os) > until)
                rc = error_set(err, COFFER_E_NOTYET,
                               "the new database did not catch up within two minutes; the old one "
                               "answers as before");
            job->deploy->os->sleep_ms(job->deploy->os, 50);
        }
    }
    buf_wipe(&lsn);
    buf_wipe(&sql);
    return rc;
}

static int
check_definitions(struct job *job, const struct copy *copy, struct coffer_error *err)
{
    const char *before = json_string_value(json_object_get(job->memory, "definitions"));
    struct buf text;
    char now[65] = "";
    int rc;

    buf_init(&text, 16u << 20);
    rc = definitions(&copy->from, &text, err);
    if (rc == COFFER_OK)
        rc = digest(&text, now, err);
    buf_wipe(&text);
    if (rc == COFFER_OK && (before == NULL || strcmp(before, now) != 0))
        rc = error_set(err, COFFER_E_CONFLICT,
                       "tables were made or changed meanwhile, which replication does not carry: "
                       "cancel this job "
                       "and begin anew");
    return rc;
}

static int
sequences(const struct copy *copy, struct coffer_error *err)
{
    struct buf sql;
    int rc;

    buf_init(&sql, 16u << 20);
    rc = ask(&copy->from,
             "SELECT format('SELECT setval(%L, %s, true);', format('%I.%I', schemaname, "
             "sequencename), last_value) FROM pg_sequences"
             " WHERE last_value IS NOT NULL;",
             &sql, err);
    if (rc == COFFER_OK && sql.len > 0)
        rc = postgresql_sql(&copy->to.place, copy->to.place.name, buf_cstr(&sql), NULL, err);
    buf_wipe(&sql);
    return rc;
}

static int
settle(struct job *job, const struct copy *copy, struct coffer_error *err)
{
    int rc = copy_quiet(job, copy, err);

    if (rc == COFFER_OK)
        rc = catch_up(job, copy, err);
    if (rc == COFFER_OK)
        rc = check_definitions(job, copy, err);
    if (rc == COFFER_OK)
        rc = sequences(copy, err);
    return rc == COFFER_OK ? copy_compare(job, copy, err) : rc;
}

static int
drop_both(const struct copy *copy, struct coffer_error *err)
{
    static const char publication[] =
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        " WHERE slot_name = '" NAME "' AND NOT active;\nDROP PUBLICATION IF EXISTS " NAME ";\n";
    int64_t there = 0;
    int rc = run_serving(&copy->to)
                 ? ask_number(&copy->to,
                              "SELECT count(*) FROM pg_subscription WHERE subname = '" NAME "';",
                              &there, err)
                 : COFFER_OK;

    if (rc == COFFER_OK && there > 0)
        rc = ask(&copy->to,
                 "ALTER SUBSCRIPTION " NAME " DISABLE;\nALTER SUBSCRIPTION " NAME
                 " SET (slot_name = NONE);\nDROP SUBSCRIPTION " NAME ";\n",
                 NULL, err);
    return rc == COFFER_OK && run_serving(&copy->from) ? ask(&copy->from, publication, NULL, err)
                                                       : rc;
}

static int
step_settle(struct job *job, struct coffer_error *err)
{
    struct copy copy;
    int rc = copy_places(job, &copy, err);

    if (rc == COFFER_OK)
        rc = copy_server(job, err);
    if (rc == COFFER_OK) {
        rc = settle(job, &copy, err);
        if (rc == COFFER_OK)
            rc = drop_both(&copy, err);
        if (rc != COFFER_OK)
            copy_unquiet(job, &copy);
    }
    copy_wipe(&copy);
    return rc;
}

static int
undo_subscribe(struct job *job, struct coffer_error *err)
{
    struct copy copy;
    int rc = copy_places(job, &copy, err);

    if (rc == COFFER_OK) {
        copy_unquiet(job, &copy);
        rc = drop_both(&copy, err);
    }
    copy_wipe(&copy);
    return rc;
}

static int
undo_switch(struct job *job, struct coffer_error *err)
{
    struct database d;
    int rc = database_get(job->deploy, job->database, &d, err);

    if (rc == COFFER_OK &&
        (json_int_t)d.generation == json_integer_value(json_object_get(job->memory, "to")))
        rc = copy_no_way_back(job, err);
    return rc;
}

static int
step_end(struct job *job, struct coffer_error *err)
{
    return copy_end(job, "replicate", err);
}

static const struct job_step steps[] = {
    {"begin", copy_begin, copy_undo},
    {"folder", copy_folder, NULL},
    {"volume", copy_volume, NULL},
    {"init", copy_init, NULL},
    {"server", copy_server, NULL},
    {"schema", step_schema, NULL},
    {"subscribe", step_subscribe, undo_subscribe},
    {"follow", step_follow, NULL},
    {"settle", step_settle, NULL},
    {"switch", copy_switch, undo_switch},
    {"retire", copy_retire, copy_no_way_back},
    {"end", step_end, copy_no_way_back},
    {NULL, NULL, NULL},
};
const struct job_kind job_rotate_replicate = {"rotate-replicate", steps};
