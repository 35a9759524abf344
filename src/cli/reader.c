/* SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"
#include "cli/reader.h"
#include "field/field.h"
#include "ledger/audit.h"

#include <stdlib.h>
#include <string.h>

/* Escrowed keys into this copy of the keyring, in memory alone: for reading a restored backup beside the live database. */
static int
take_escrow(struct cli *cli, struct keyring_store *store, const char *database, const struct keyring *from,
            struct keyring *into, struct coffer_error *err)
{
    json_t *taken = json_array(), *details;
    char *text = NULL, hex[9];
    int rc = taken == NULL ? error_nomem(err) : COFFER_OK;

    for (size_t i = 0; rc == COFFER_OK && i < keyring_key_count(from); i++) {
        const struct keyring_key *key = keyring_key_at(from, i);
        struct keyring *escrowed = NULL;
        struct buf content;
        size_t count;

        if (key->state != KEY_ESCROWED)
            continue;
        buf_init(&content, KEYRING_FILE_MAX);
        rc = store->escrow_get(store, key->id, &content, err);
        if (rc == COFFER_OK)
            rc = keyring_decode_again(buf_view(&content), from, &escrowed, err);
        if (rc == COFFER_OK)
            rc = keyring_import(into, escrowed, &count, err);
        if (rc == COFFER_OK && json_array_append_new(taken, json_string(key_hex(key->id, hex))) != 0)
            rc = error_nomem(err);
        keyring_free(escrowed);
        buf_wipe(&content);
    }
    /* Who reads under retired keys is written down. */
    details = json_pack("{s:s, s:o*}", "database", database, "keys", taken);
    if (rc == COFFER_OK && details != NULL)
        text = json_dumps(details, JSON_COMPACT);
    if (rc == COFFER_OK)
        rc = text == NULL ? error_nomem(err)
                          : audit_change(store, cli->os, cli->who, "escrow.read", text, NULL, NULL, NULL, err);
    json_decref(details);
    free(text);
    return rc;
}

int
reader_open(struct cli *cli, const struct cli_url *url, struct reader *out, struct coffer_error *err)
{
    struct keyring *taken = NULL;
    int rc;

    *out = (struct reader){.cli = cli};
    rc = cli_settings(cli, &out->settings, err);
    if (rc == COFFER_OK) /* before the load: a change in between is seen by the next refresh */
        rc = cli->os->stamp_file(cli->os, out->settings.keyring, &out->stamp, err);
    if (rc == COFFER_OK)
        rc = cli_keyring(cli, &out->store, &out->keyring, err);
    if (rc == COFFER_OK)
        rc = host_database_open_newest(out->store, &out->keyring, url->text, url->allow_password,
                                       &(struct db_options){.read_only = true}, &out->database, err);
    if (rc == COFFER_OK && !out->database->registered)
        rc = error_set(err, COFFER_E_NOTFOUND, "the keyring holds nothing of database %s; protect a column first",
                       out->database->name);
    if (rc == COFFER_OK)
        rc = keyring_clone(out->keyring, &taken, err);
    if (rc == COFFER_OK && args_flag(cli->args, "escrow"))
        rc = take_escrow(cli, out->store, out->database->name, out->keyring, taken, err);
    if (rc == COFFER_OK)
        rc = coffer_adopt(&taken, &out->coffer, err);
    keyring_free(taken);
    if (rc != COFFER_OK)
        reader_close(out);
    return rc;
}

void
reader_close(struct reader *reader)
{
    coffer_free(reader->coffer);
    host_database_close(reader->database);
    keyring_free(reader->keyring);
    file_store_close(reader->store);
    *reader = (struct reader){0};
}

int
reader_refresh(struct reader *reader, struct coffer_error *err)
{
    const struct os *os = reader->cli->os;
    uint64_t stamp = 0;
    struct buf file;
    int rc = os->stamp_file(os, reader->settings.keyring, &stamp, err);

    if (rc != COFFER_OK)
        return rc;
    if (stamp == reader->stamp) {
        coffer_confirm(reader->coffer);
        return COFFER_OK;
    }
    buf_init(&file, KEYRING_FILE_MAX);
    rc = os->read_file(os, reader->settings.keyring, KEYRING_FILE_MAX, &file, err);
    if (rc == COFFER_OK)
        rc = coffer_update(reader->coffer, file.ptr, file.len, err);
    if (rc == COFFER_OK)
        reader->stamp = stamp;
    buf_wipe(&file);
    return rc;
}

/* At least `need` bytes that can be written to. */
static int
space_for(struct buf *space, size_t need, struct coffer_error *err)
{
    static const uint8_t nothing[4096];

    buf_clear(space);
    for (size_t left = need > space->size ? need : 0; left > 0;) {
        size_t n = left < sizeof nothing ? left : sizeof nothing;

        buf_add(space, nothing, n);
        left -= n;
    }
    return buf_status(space, err);
}

int
reader_cell(struct coffer *coffer, const struct coffer_column *column, const struct coffer_column_info *info, struct coffer_place place,
            const struct coffer_value *own, const struct coffer_value *beside, struct buf *space, struct coffer_stored *stored,
            struct coffer_value *value, struct coffer_error *err)
{
    int rc;

    memset(stored, 0, sizeof *stored);
    if (beside != NULL) {
        stored->plain = *own;
        if (beside->type != COFFER_NULL) {
            stored->sealed = beside->data;
            stored->sealed_len = beside->len;
        }
    } else if (own->type != COFFER_NULL) {
        bool may_seal = info->text_form ? own->type == COFFER_TEXT : own->type == COFFER_BYTES;
        bool may_plain = !may_seal || info->text_form || info->type == COFFER_BYTES;

        if (may_plain)
            stored->plain = *own;
        if (may_seal) {
            stored->sealed = own->data;
            stored->sealed_len = own->len;
        }
    }
    rc = space_for(space, stored->sealed_len > stored->plain.len ? stored->sealed_len : stored->plain.len, err);
    return rc != COFFER_OK ? rc : coffer_cell_read(coffer, column, place, stored, space->ptr, space->size, value, err);
}
