/* SPDX-License-Identifier: Apache-2.0 */
/* One command's view of the keyring and of one database. */
#include "base/mem.h"
#include "rotate/machine.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int
connect_database(struct session *s, struct coffer_error *err)
{
    struct db_options options = {.application_name = "coffer rotate", .busy_ms = 5000};

    codec_free(s->codec); /* borrows the keyring, which may be replaced */
    s->codec = NULL;
    return host_database_open_newest(s->env->store, &s->keyring, s->env->url,
                                     s->env->allow_password, &options, &s->database, err);
}

/* Whoever can write to the database can drop a working table; what it held is not needed to go on.
 * Looking first, since making what is there already may need rights that nobody has any more. */
static int
working_tables(struct session *s, struct coffer_error *err)
{
    static const char *const NAMES[] = {"rotation", "chunk", "client", "quarantine"};
    char sql[200];
    size_t i;
    int rc = COFFER_OK;

    if (!s->database->registered || s->database->restored || s->database->lost)
        return COFFER_OK;
    for (i = 0; rc == COFFER_OK && i < sizeof NAMES / sizeof *NAMES; i++) {
        snprintf(sql, sizeof sql, "SELECT 1 FROM %s LIMIT 0", db_catalog_name(s->database->db, NAMES[i]));
        rc = db_run(s->database->db, sql, NULL, 0, NULL, err);
    }
    if (rc != COFFER_E_DB && rc != COFFER_E_NOTFOUND)
        return rc;
    say(s->env, ROTATE_WARN, "check", "Coffer's working table %s is gone; it is made anew", NAMES[i - 1]);
    return db_catalog_install(s->database->db, err);
}

int
session_open(struct session *s, const struct rotate_env *env, const struct rotate_options *options,
             struct coffer_error *err)
{
    int rc;

    memset(s, 0, sizeof *s);
    s->env = env;
    s->options = options;
    rc = env->store->load(env->store, &s->keyring, err);
    if (rc == COFFER_OK)
        rc = connect_database(s, err);
    if (rc == COFFER_OK)
        rc = working_tables(s, err);
    if (rc != COFFER_OK)
        session_close(s);
    return rc;
}

void
session_close(struct session *s)
{
    codec_free(s->codec);
    host_database_close(s->database);
    keyring_free(s->keyring);
    s->codec = NULL;
    s->database = NULL;
    s->keyring = NULL;
}

int
session_reconnect(struct session *s, struct coffer_error *err)
{
    unsigned attempt, pause_ms = 200;
    int rc = COFFER_E_LOST;

    host_database_close(s->database);
    s->database = NULL;
    for (attempt = 0; attempt < 12 && !stopped(s->env); attempt++) {
        rc = connect_database(s, err);
        if (rc != COFFER_E_LOST && rc != COFFER_E_CONFLICT && rc != COFFER_E_DB)
            return rc;
        if (attempt == 0)
            say(s->env, ROTATE_WAIT, "drain", "the connection was lost; connecting again");
        s->env->os->sleep_ms(s->env->os, pause_ms);
        pause_ms = pause_ms < 8000 ? pause_ms * 2 : pause_ms;
    }
    if (rc == COFFER_OK) /* stop was asked before the first attempt */
        rc = error_set(err, COFFER_E_CANCELLED,
                       "stopped while the connection was down; run the command again to go on");
    return rc;
}

/* Take `newest` (owned) as the keyring in use. */
static void
session_adopt(struct session *s, struct keyring *newest)
{
    codec_free(s->codec); /* borrows the old one */
    s->codec = NULL;
    if (s->database != NULL)
        host_database_use(s->database, newest);
    keyring_free(s->keyring);
    s->keyring = newest;
}

int
session_refresh(struct session *s, struct coffer_error *err)
{
    struct keyring *newest = NULL;
    int rc = s->env->store->load(s->env->store, &newest, err);

    if (rc == COFFER_OK)
        session_adopt(s, newest);
    return rc;
}

int
session_change(struct session *s, const char *event, const char *details, keyring_change change,
               void *arg, struct coffer_error *err)
{
    struct keyring *newest = NULL;
    int rc;

    rc = audit_change(s->env->store, s->env->os, s->env->who, event, details, change, arg, &newest,
                      err);
    if (rc != COFFER_OK)
        return rc;
    session_adopt(s, newest);
    if (s->database != NULL && s->database->registered && !s->database->restored)
        rc = host_database_saw(s->database, NULL, err);
    return rc;
}

int
session_codec(struct session *s, struct codec **out, struct coffer_error *err)
{
    int rc = COFFER_OK;

    if (s->codec == NULL)
        rc = codec_new(s->keyring, &s->codec, err);
    *out = s->codec;
    return rc;
}

int
session_require_registered(struct session *s, struct coffer_error *err)
{
    if (!s->database->registered)
        return error_set(
            err, COFFER_E_NOTFOUND,
            "%s has no protected column under this keyring; begin with: coffer protect",
            s->database->name);
    if (s->database->restored)
        return error_set(err, COFFER_E_REFUSED,
                         "%s was restored or copied since the keyring saw it last; run coffer "
                         "rotate on it first, which "
                         "recovers it, or read a copy with coffer cat --escrow",
                         s->database->name);
    return COFFER_OK;
}

const char *
session_owner(struct session *s)
{
    char host[40] = "host";
    uint32_t random = 0;

    if (s->owner[0] != '\0')
        return s->owner;
    gethostname(host, sizeof host - 1);
    (void)!s->env->os->random(s->env->os, &random, sizeof random, NULL);
    snprintf(s->owner, sizeof s->owner, "%.30s:%ld:%08x", host, (long)getpid(), random);
    return s->owner;
}

void
session_blame(struct session *s, char *out, size_t max)
{
    struct coffer_error who = {0};
    struct db_mark mark;

    if (db_engine(s->database->db) == DB_POSTGRESQL &&
        db_mark_now(s->database->db, &mark, NULL) == COFFER_OK &&
        db_mark_passed(s->database->db, &mark, &who) == COFFER_E_NOTYET)
        snprintf(out, max, "%s", who.message);
    else
        snprintf(out, max, "another transaction");
}

int
session_others(struct session *s, size_t *count, struct buf *who, struct coffer_error *err)
{
    bool known = false;
    int rc = db_others(s->database->db, &known, count, who, err);

    if (rc == COFFER_OK && !known)
        *count = 0;
    return rc;
}

int
change_move(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct move_arg *move = arg;
    const struct keyring_key *key = keyring_key(kr, move->key_id);

    if (key != NULL && key->state == move->state) /* done by an earlier run */
        return COFFER_OK;
    return keyring_key_move(kr, move->key_id, move->state, move->now_us, err);
}

int
change_phase(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct phase_arg *phase = arg;
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < phase->count; i++)
        rc = keyring_column_phase(kr, &phase->ids[i], phase->phase, err);
    return rc;
}
