/* SPDX-License-Identifier: Apache-2.0 */
/* The proof: counts from scans, a look for envelopes that nobody registered, and the signed
 * certificate.
 *
 * Everything stated comes from scans of the database in this call; working rows are not consulted,
 * but for the quarantine (which can only forbid a proof) and the plaintext level (which a scrub
 * recorded under its MAC).
 */
#include "base/mem.h"
#include "base/number.h"
#include "crypto/crypto.h"
#include "ledger/certificate.h"
#include "ledger/retire.h"
#include "rotate/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

uint64_t
count_under(const struct db_count *count, uint32_t key_id)
{
    size_t i;

    for (i = 0; i < count->key_count; i++) {
        if (count->keys[i].key_id == key_id)
            return count->keys[i].cells;
    }
    return 0;
}

void
column_counts_free(struct column_count *counts, size_t n)
{
    size_t i;

    for (i = 0; counts != NULL && i < n; i++)
        db_count_free(counts[i].count);
    mem_free(counts);
}

int
count_columns(struct session *s, const struct uuid *ids, size_t n, struct column_count **out,
              struct coffer_error *err)
{
    struct column_count *counts = mem_array(n + 1, sizeof *counts);
    size_t i;
    int rc = COFFER_OK;

    *out = NULL;
    if (counts == NULL)
        return error_nomem(err);
    for (i = 0; rc == COFFER_OK && i < n; i++) {
        struct db_table *table = NULL;
        struct db_cell_spec spec;

        counts[i].column = keyring_column_by_id(s->keyring, &ids[i]);
        if (counts[i].column == NULL) {
            rc = error_set(err, COFFER_E_NOTFOUND,
                           "a column of this rotation is no longer in the keyring");
            break;
        }
        column_cell_spec(counts[i].column, &spec);
        rc = column_table(s, counts[i].column, &table, err);
        if (rc == COFFER_OK)
            rc = db_count(s->database->db, table, &spec, &counts[i].count, err);
        db_table_free(table);
    }
    if (rc != COFFER_OK) {
        column_counts_free(counts, n);
        return rc;
    }
    *out = counts;
    return COFFER_OK;
}

/* ---- envelopes in places that are not registered ---- */

struct search {
    struct session *s;
    char **lines; /* owned; accepted names first, then notes */
    size_t accepted, notes, room;
    struct buf missing;
    size_t missing_count;
};

static bool
accepted_by_name(struct session *s, const char *column)
{
    size_t i;

    for (i = 0; i < s->options->accept_unregistered_count; i++) {
        const char *name = s->options->accept_unregistered[i];
        size_t skip = strlen(column) > strlen(name) ? strlen(column) - strlen(name) : 0;

        if (strcmp(column, name) == 0 ||
            (skip > 0 && column[skip - 1] == '.' && strcmp(column + skip, name) == 0))
            return true;
    }
    return false;
}

static int
search_room(struct search *search, struct coffer_error *err)
{
    size_t room = search->room * 2 + 16;
    char **grown;

    if (search->accepted + search->notes < search->room)
        return COFFER_OK;
    grown = mem_grow(search->lines, room * sizeof *grown);
    if (grown == NULL)
        return error_nomem(err);
    search->lines = grown;
    search->room = room;
    return COFFER_OK;
}

static int
on_find(void *arg, const struct db_find *find, struct coffer_error *err)
{
    struct search *search = arg;
    char *line;
    int rc;

    if (!find->unreadable && !accepted_by_name(search->s, find->column)) {
        buf_format(&search->missing, "%s%s (%s, one under %08x)",
                   search->missing_count++ ? ", " : "", find->column,
                   counted(find->count, "cell").text, find->key_id);
        return COFFER_OK;
    }
    rc = search_room(search, err);
    if (rc != COFFER_OK)
        return rc;
    line = find->unreadable ? mem_format("could not be read by this role: %s", find->column)
                            : mem_format("%s (%s)", find->column, counted(find->count, "cell").text);
    if (line == NULL)
        return error_nomem(err);
    if (find->unreadable) {
        search->lines[search->accepted + search->notes++] = line;
    } else { /* keep the accepted ones in front */
        memmove(search->lines + search->accepted + 1, search->lines + search->accepted,
                search->notes * sizeof *search->lines);
        search->lines[search->accepted++] = line;
    }
    return COFFER_OK;
}

static void
search_free(struct search *search)
{
    size_t i;

    for (i = 0; i < search->accepted + search->notes; i++)
        mem_free(search->lines[i]);
    mem_free(search->lines);
    buf_wipe(&search->missing);
}

/* Standbys are listed, never claimed: what they hold follows the WAL, and the wait after the proof is for them. */
static int
on_replica(void *arg, const char *text, struct coffer_error *err)
{
    struct search *search = arg;
    int rc = search_room(search, err);

    if (rc != COFFER_OK)
        return rc;
    search->lines[search->accepted + search->notes] = mem_format("%s", text);
    if (search->lines[search->accepted + search->notes] == NULL)
        return error_nomem(err);
    search->notes++;
    return COFFER_OK;
}

static int
search_unregistered(struct session *s, struct search *search, struct coffer_error *err)
{
    size_t total = keyring_column_count(s->keyring), known = 0, i;
    const char **names = mem_array(2 * total + 1, sizeof *names);
    int rc = COFFER_OK;

    memset(search, 0, sizeof *search);
    search->s = s;
    buf_init(&search->missing, 1u << 16);
    if (names == NULL)
        return error_nomem(err);
    for (i = 0; i < total; i++) {
        const struct keyring_column *column = keyring_column_at(s->keyring, i);

        if (column->retired || !uuid_equal(&column->database, &s->database->id))
            continue;
        names[known++] = mem_format("%s.%s", column->table, column->name);
        if (column->companion[0] != '\0')
            names[known++] = mem_format("%s.%s", column->table, column->companion);
    }
    for (i = 0; i < known; i++) {
        if (names[i] == NULL)
            rc = error_nomem(err);
    }
    if (rc == COFFER_OK)
        rc = db_find_envelopes(s->database->db, names, known, on_find, search, err);
    if (rc == COFFER_OK)
        rc = db_replicas(s->database->db, on_replica, search, err);
    if (rc == COFFER_OK && search->missing_count > 0)
        rc = error_set(err, COFFER_E_REFUSED,
                       "envelopes are in %zu column%s that are not protected: %.300s; protect or "
                       "empty them, or accept each by "
                       "name with --accept-unregistered",
                       search->missing_count, search->missing_count == 1 ? "" : "s",
                       buf_cstr(&search->missing));
    for (i = 0; i < known; i++)
        mem_free((void *)(uintptr_t)names[i]);
    mem_free((void *)(uintptr_t)names);
    if (rc != COFFER_OK)
        search_free(search);
    return rc;
}

/* ---- the certificate ---- */

static const char *
constraint_of(struct session *s, const struct uuid *column)
{
    size_t i;

    for (i = 0; i < s->constraint_count; i++) {
        if (uuid_equal(&s->constraints[i].column, column))
            return s->constraints[i].name;
    }
    return "";
}

static int
add_backup_notes(struct session *s, const struct keyring_key *key, const char **notes,
                 size_t *count, struct coffer_error *err)
{
    size_t i;

    for (i = 0; i < keyring_backup_count(s->keyring); i++) {
        const struct keyring_backup *backup = keyring_backup_at(s->keyring, i);
        char *line;

        if (backup->expired_us != 0 || !uuid_equal(&backup->database, &s->database->id))
            continue;
        line = mem_format("backup \"%s\" was made while key %08x was in use and needs it",
                          backup->label, key->id);
        if (line == NULL)
            return error_nomem(err);
        notes[(*count)++] = line;
    }
    return COFFER_OK;
}

static int
fill_column(struct session *s, const struct column_count *in, uint32_t key_id,
            struct certificate_column *out, struct coffer_error *err)
{
    unsigned level;
    size_t k;
    int rc = plaintext_level(s, &in->column->id, &level, err);

    if (rc != COFFER_OK)
        return rc;
    snprintf(out->name, sizeof out->name, "%s.%s", in->column->table, in->column->name);
    out->id = in->column->id;
    out->rows = in->count->rows;
    out->nulls = in->count->nulls;
    out->plaintext = in->count->plaintext;
    out->under_key = count_under(in->count, key_id);
    for (k = 0; k < in->count->key_count; k++)
        out->sealed += in->count->keys[k].cells;
    snprintf(out->constraint, sizeof out->constraint, "%s", constraint_of(s, &in->column->id));
    snprintf(out->plaintext_level, sizeof out->plaintext_level, "%s", plaintext_level_name(level));
    return COFFER_OK;
}

static int
write_certificate(struct session *s, const struct keyring_key *key,
                  const struct column_count *counts, size_t n, const struct db_mark *mark,
                  struct search *search, struct buf *out, struct coffer_error *err)
{
    const struct keyring_database *database = keyring_database(s->keyring, &s->database->id);
    struct certificate_column *columns = mem_array(n + 1, sizeof *columns);
    const char **notes =
        mem_array(search->notes + keyring_backup_count(s->keyring) + 1, sizeof *notes);
    struct certificate c = {.key_id = key->id, .columns = columns, .column_count = n};
    size_t note_count = 0, own = 0, i;
    int rc = COFFER_OK;

    if (columns == NULL || notes == NULL) {
        rc = error_nomem(err);
        goto out;
    }
    for (i = 0; rc == COFFER_OK && i < n; i++)
        rc = fill_column(s, &counts[i], key->id, &columns[i], err);
    for (i = 0; i < search->notes; i++)
        notes[note_count++] = search->lines[search->accepted + i];
    own = note_count;
    if (rc == COFFER_OK)
        rc = add_backup_notes(s, key, notes, &note_count, err);
    if (rc != COFFER_OK)
        goto out;
    memcpy(c.fingerprint, key->fingerprint, sizeof c.fingerprint);
    snprintf(c.line, sizeof c.line, "%s", key->line);
    snprintf(c.purpose, sizeof c.purpose, "%s", key_purpose_name(key->purpose));
    c.keyring = keyring_id(s->keyring);
    c.database = s->database->id;
    snprintf(c.database_name, sizeof c.database_name, "%s",
             database != NULL ? database->name : s->database->name);
    snprintf(c.engine, sizeof c.engine, "%s", db_engine_name(s->database->db));
    snprintf(c.incarnation, sizeof c.incarnation, "%s", s->database->incarnation);
    c.proven_us = s->env->os->now_us(s->env->os);
    snprintf(c.position, sizeof c.position, "%s", mark->position);
    c.xid = mark->xid;
    keyring_audit_mark(s->keyring, &c.audit_count, c.audit_hash);
    c.accepted = (const char *const *)search->lines;
    c.accepted_count = search->accepted;
    c.notes = notes;
    c.note_count = note_count;
    rc = certificate_write(&c, s->keyring, out, err);
out:
    for (i = own; notes != NULL && i < note_count; i++)
        mem_free((void *)(uintptr_t)notes[i]);
    mem_free((void *)(uintptr_t)notes);
    mem_free(columns);
    return rc;
}

/* REFUSED with the counts, unless nothing is under the key and nothing is in quarantine. */
static int
must_be_zero(struct session *s, const struct column_count *counts, size_t n, uint32_t key_id,
             struct coffer_error *err)
{
    uint64_t quarantined = 0, under = 0;
    struct buf text;
    size_t i;
    int rc;

    rc = quarantine_count(&s->database->journal, NULL, &quarantined, err);
    if (rc != COFFER_OK)
        return rc;
    buf_init(&text, 4096);
    for (i = 0; i < n; i++) {
        uint64_t cells = count_under(counts[i].count, key_id);

        if (cells > 0)
            buf_format(&text, "%s%s.%s %" PRIu64, under > 0 ? ", " : "", counts[i].column->table,
                       counts[i].column->name, cells);
        under += cells;
    }
    if (under > 0)
        rc = error_set(err, COFFER_E_REFUSED,
                       "still under key %08x: %s: %.300s; coffer rotate moves them",
                       key_id, counted(under, "cell").text, buf_cstr(&text));
    else if (quarantined > 0)
        rc = error_set(err, COFFER_E_REFUSED,
                       "%s in quarantine could be under key %08x; coffer status lists them, repair or "
                       "delete those rows and rotate again",
                       counted(quarantined, "cell").text, key_id);
    buf_wipe(&text);
    return rc;
}

int
prove(struct session *s, uint32_t key_id, struct db_mark *mark, struct buf *certificate,
      struct coffer_error *err)
{
    const struct keyring_key *key = keyring_key(s->keyring, key_id);
    struct column_count *counts = NULL;
    struct search search = {0};
    struct uuid *ids = NULL;
    size_t n = 0;
    int rc;

    if (key == NULL)
        return error_set(err, COFFER_E_KEY,
                         "the keyring holds no key %08x; coffer key list shows them", key_id);
    rc = columns_resolve(s, NULL, 0, &ids, &n, err);
    if (rc == COFFER_OK)
        rc = count_columns(s, ids, n, &counts, err);
    if (rc == COFFER_OK)
        rc = must_be_zero(s, counts, n, key_id, err);
    if (rc == COFFER_OK)
        rc = db_mark_now(s->database->db, mark, err);
    if (rc == COFFER_OK)
        rc = search_unregistered(s, &search, err);
    if (rc == COFFER_OK) {
        rc = write_certificate(s, key, counts, n, mark, &search, certificate, err);
        search_free(&search);
    }
    column_counts_free(counts, n);
    mem_free(ids);
    return rc;
}

/* ---- into the keyring ---- */

int
certify(struct session *s, uint32_t key_id, struct bytes certificate, bool *everywhere,
        struct coffer_error *err)
{
    struct retire_certify arg = {.certificate.key_id = key_id,
                              .certificate.database = s->database->id};
    char name[RETIRE_NAME_LEN], details[160], database[37];
    int rc;

    arg.now_us = arg.certificate.proven_us = s->env->os->now_us(s->env->os);
    rc = sha256(certificate, arg.certificate.digest, err);
    if (rc != COFFER_OK)
        return rc;
    uuid_format(&s->database->id, database);
    retire_certificate_name(key_id, &s->database->id, name);
    rc = s->env->store->certificate_put(s->env->store, name, certificate, err);
    if (rc != COFFER_OK)
        return rc;
    snprintf(details, sizeof details,
             "{\"key\":\"%08x\",\"database\":\"%s\",\"certificate\":\"%s\"}", key_id, database,
             name);
    rc = session_change(s, "key.prove", details, retire_change_certify, &arg, err);
    *everywhere = arg.everywhere;
    return rc;
}

int
rotate_prove(const struct rotate_env *env, uint32_t key_id, const struct rotate_options *options,
             struct buf *out, struct coffer_error *err)
{
    struct session s;
    struct db_mark mark;
    int rc = session_open(&s, env, options, err);

    if (rc != COFFER_OK)
        return rc;
    rc = session_require_registered(&s, err);
    if (rc == COFFER_OK)
        rc = prove(&s, key_id, &mark, out, err);
    session_close(&s);
    return rc;
}
