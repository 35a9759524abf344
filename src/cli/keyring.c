/* SPDX-License-Identifier: Apache-2.0 */
/* coffer keyring init|show|rewrap|export|import */
#include "cli/commands.h"
#include "crypto/crypto.h"
#include "kek/kek_open.h"
#include "ledger/audit.h"

#include <string.h>

static const char *
kek_name(uint16_t kind)
{
    return kind == COFFER_KEK_PASSPHRASE ? "passphrase" : "key file";
}

static int
run_init(struct cli *cli, struct coffer_error *err)
{
    struct host_settings settings;
    struct kek *kek = NULL;
    bool made = false;
    uint64_t stamp = 0;
    int rc;

    rc = cli_settings(cli, &settings, err);
    if (rc == COFFER_OK) /* before a key file is made or a passphrase asked for nothing */
        rc = cli->os->stamp_file(cli->os, settings.keyring, &stamp, err);
    if (rc == COFFER_OK && stamp != 0)
        rc = error_set(err, COFFER_E_EXISTS, "%s exists; init never overwrites a keyring", settings.keyring);
    if (rc == COFFER_OK)
        rc = kek_prepare(settings.kek, cli->os, &made, err);
    if (rc == COFFER_OK)
        rc = cli_kek(cli, settings.kek, &kek, err);
    if (rc == COFFER_OK)
        rc = file_store_init(settings.keyring, kek, cli->os, cli->who, err); /* takes kek */
    if (rc != COFFER_OK)
        return rc;
    if (cli->json) {
        out_json(json_pack("{s:s,s:b}", "keyring", settings.keyring, "kek_made", (int)made));
        return COFFER_OK;
    }
    if (made)
        (void)printf("Made %s: 32 random bytes that unlock the keyring.\nKeep a copy apart from it.\n",
                     strchr(settings.kek, ':') + 1);
    (void)printf("Made keyring %s.\nWithout it nothing that is sealed can be opened: back it up.\n", settings.keyring);
    return COFFER_OK;
}

const struct command command_keyring_init = {
    .name = "keyring init",
    .synopsis = "--keyring FILE --kek URI",
    .summary = "make a new keyring",
    .details = "Makes the keyring and, for --kek file:PATH, the key file if it is missing.  Never\n"
               "overwrites either.  A passphrase is asked for on the terminal, twice.\n\n"
               "  coffer keyring init --keyring k.coffer --kek file:kek.bin\n"
               "  coffer keyring init --keyring k.coffer --kek passphrase:\n",
    .options = options_none,
    .run = run_init,
};

static int
show_audit_key(const struct keyring *kr, bool json, struct coffer_error *err)
{
    uint8_t key[32];
    struct buf pem;
    int rc = audit_public_key(kr, key, err);

    buf_init(&pem, 4096);
    if (rc == COFFER_OK)
        rc = ed25519_pem_write(key, &pem, err);
    if (rc == COFFER_OK && json)
        out_json(json_pack("{s:s}", "audit_key", buf_cstr(&pem)));
    else if (rc == COFFER_OK)
        (void)fputs(buf_cstr(&pem), stdout);
    buf_wipe(&pem);
    return rc;
}

static void
show_json(const struct keyring *kr)
{
    struct uuid id = keyring_id(kr);
    json_t *databases = json_array();
    json_t *columns = json_array();

    for (size_t i = 0; i < keyring_database_count(kr); i++) {
        const struct keyring_database *d = keyring_database_at(kr, i);

        json_array_append_new(databases, json_pack("{s:o,s:s,s:s,s:i}", "id", out_uuid(&d->id), "name", d->name,
                                                   "engine", d->engine, "keep_days", (int)d->keep_days));
    }
    for (size_t i = 0; i < keyring_column_count(kr); i++) {
        const struct keyring_column *c = keyring_column_at(kr, i);

        if (!c->retired)
            json_array_append_new(
                columns, json_pack("{s:o,s:o,s:s,s:s,s:s,s:s,s:s}", "id", out_uuid(&c->id), "database",
                                   out_uuid(&c->database), "table", c->table, "column", c->name, "type",
                                   coffer_type_name(c->type), "phase", coffer_phase_name(c->phase), "line", c->line));
    }
    out_json(json_pack("{s:o,s:I,s:s,s:i,s:o,s:o}", "id", out_uuid(&id), "epoch", (json_int_t)keyring_epoch(kr),
                       "kek", kek_name(keyring_kek_kind(kr)), "keys", (int)keyring_key_count(kr), "databases",
                       databases, "columns", columns));
}

static void
show_text(const struct cli *cli, const struct keyring *kr)
{
    static const char *const headings[] = {"DATABASE", "COLUMN", "TYPE", "PHASE", "LINE"};
    struct uuid id = keyring_id(kr);
    struct table *t = table_new(headings, 5);
    char text[37];

    uuid_format(&id, text);
    (void)printf("Keyring  %s\nEpoch    %llu\nUnlocked by a %s\nKeys     %zu (`coffer key list`)\n", text,
                 (unsigned long long)keyring_epoch(kr), kek_name(keyring_kek_kind(kr)), keyring_key_count(kr));
    for (size_t i = 0; i < keyring_database_count(kr); i++) {
        const struct keyring_database *d = keyring_database_at(kr, i);

        (void)printf("Database %s, backups readable for %u day%s\n", d->name, (unsigned)d->keep_days,
                     d->keep_days == 1 ? "" : "s");
    }
    for (size_t i = 0; i < keyring_column_count(kr); i++) {
        const struct keyring_column *c = keyring_column_at(kr, i);
        const struct keyring_database *d = keyring_database(kr, &c->database);
        char name[2 * KEYRING_NAME_MAX];

        if (c->retired)
            continue;
        (void)snprintf(name, sizeof name, "%s.%s", c->table, c->name);
        table_row(t, (const char *const[]){d != NULL ? d->name : "?", name, coffer_type_name(c->type),
                                           coffer_phase_name(c->phase), c->line});
    }
    (void)fputc('\n', stdout);
    table_print(t, stdout, cli->colour);
    table_free(t);
}

static int
run_show(struct cli *cli, struct coffer_error *err)
{
    struct keyring_store *store = NULL;
    struct keyring *kr = NULL;
    int rc = cli_keyring(cli, &store, &kr, err);

    if (rc == COFFER_OK && args_flag(cli->args, "audit-key"))
        rc = show_audit_key(kr, cli->json, err);
    else if (rc == COFFER_OK && cli->json)
        show_json(kr);
    else if (rc == COFFER_OK)
        show_text(cli, kr);
    keyring_free(kr);
    file_store_close(store);
    return rc;
}

static const struct arg_option options_show[] = {
    {"audit-key", NULL, "only the public key that checks certificates and the audit log, as PEM"}, {NULL, NULL, NULL}};
const struct command command_keyring_show = {
    .name = "keyring show",
    .synopsis = "[--audit-key]",
    .summary = "epoch, databases and columns of a keyring",
    .details = "  coffer keyring show\n  coffer keyring show --audit-key > pub.pem\n",
    .options = options_show,
    .run = run_show,
};

static int
run_rewrap(struct cli *cli, struct coffer_error *err)
{
    const char *uri = args_text(cli->args, "new-kek");
    struct keyring_store *store = NULL;
    struct keyring *kr = NULL;
    struct kek *kek = NULL;
    size_t escrowed = 0;
    bool made = false;
    int rc;

    if (uri == NULL)
        return error_set(err, COFFER_E_MISUSE, "keyring rewrap needs --new-kek URI");
    rc = cli_keyring(cli, &store, &kr, err);
    if (rc == COFFER_OK)
        rc = kek_prepare(uri, cli->os, &made, err);
    if (rc == COFFER_OK)
        rc = cli_kek(cli, uri, &kek, err);
    if (rc == COFFER_OK)
        rc = file_store_rewrap(store, kek, cli->who, &escrowed, err);
    if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:b,s:i,s:b}", "rewrapped", 1, "escrow_files", (int)escrowed, "kek_made", (int)made));
    else if (rc == COFFER_OK)
        (void)printf("%s%s%sThe keyring%s is now unlocked by %s.  No data was touched.\n"
                     "From here on give it as --kek, in COFFER_KEK, or as kek in coffer.toml: the old one\n"
                     "opens nothing any more.  Give programs that are running the new KEK within a minute:\n"
                     "with the old one they stop sealing then.  Older generations beside the keyring still open with\n"
                     "the old one.  If a data key leaked, rotate it: this does not help.\n",
                     made ? "Made " : "", made ? strchr(uri, ':') + 1 : "",
                     made ? ": 32 random bytes.  Keep a copy apart from the keyring.\n" : "",
                     escrowed > 0 ? " with its escrow files" : "", uri);
    kek_close(kek);
    keyring_free(kr);
    file_store_close(store);
    return rc;
}

static const struct arg_option options_rewrap[] = {{"new-kek", "URI", "what shall unlock it from now on"},
                                                   {NULL, NULL, NULL}};
const struct command command_keyring_rewrap = {
    .name = "keyring rewrap",
    .synopsis = "--new-kek URI",
    .summary = "change the key or passphrase that unlocks it",
    .details = "Escrow files come along; no data is touched.  After a crash all of it opens with one of\n"
               "the two: with the old KEK, then give the command again, or with the new one.\n"
               "Programs that are running must be given the new KEK within a minute; with the old\n"
               "one they stop sealing then.\n\n"
               "  coffer keyring rewrap --kek file:kek.bin --new-kek passphrase:\n",
    .options = options_rewrap,
    .run = run_rewrap,
};

static int
run_export(struct cli *cli, struct coffer_error *err)
{
    const char *path = args_text(cli->args, "out");
    const char *uri = args_text(cli->args, "export-kek");
    struct keyring_store *store = NULL;
    struct keyring *kr = NULL, *one = NULL;
    struct kek *kek = NULL;
    struct buf content;
    char details[48];
    bool made;
    uint32_t id = 0;
    int rc = parse_key_id(cli->args->words[0], &id, err);

    buf_init(&content, KEYRING_FILE_MAX);
    (void)snprintf(details, sizeof details, "{\"key\":\"%08x\"}", (unsigned)id);
    if (rc == COFFER_OK && path == NULL)
        rc = error_set(err, COFFER_E_MISUSE, "keyring export needs --out FILE");
    if (rc == COFFER_OK)
        rc = cli_keyring(cli, &store, &kr, err);
    if (rc == COFFER_OK && uri != NULL)
        rc = kek_prepare(uri, cli->os, &made, err);
    if (rc == COFFER_OK && uri != NULL)
        rc = cli_kek(cli, uri, &kek, err);
    if (rc == COFFER_OK && keyring_key(kr, id) != NULL && keyring_key(kr, id)->state == KEY_ESCROWED) {
        rc = store->escrow_get(store, id, &content, err);
        if (rc == COFFER_OK && kek != NULL)
            rc = keyring_decode_again(buf_view(&content), kr, &one, err);
        if (rc == COFFER_OK && kek != NULL)
            rc = keyring_rewrap(one, kek, err);
    } else if (rc == COFFER_OK) {
        rc = keyring_extract(kr, id, kek, &one, err);
    }
    if (rc == COFFER_OK && one != NULL)
        rc = keyring_encode(one, &content, err);
    if (rc == COFFER_OK)
        rc = audit_change(store, cli->os, cli->who, "key.export", details, NULL, NULL, NULL, err);
    if (rc == COFFER_OK)
        rc = cli->os->write_file(cli->os, path, buf_view(&content), 0600, true, err);
    if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:o,s:s}", "exported", out_key(id), "file", path));
    else if (rc == COFFER_OK)
        (void)printf("Key %08x is in %s, sealed under %s.\n", (unsigned)id, path,
                     uri != NULL ? uri : "this keyring's own KEK");
    buf_wipe(&content);
    kek_close(kek);
    keyring_free(one);
    keyring_free(kr);
    file_store_close(store);
    return rc;
}

static const struct arg_option options_export[] = {
    {"out", "FILE", "where to write it; never overwrites"},
    {"export-kek", "URI", "seal it under another KEK than the keyring's"},
    {NULL, NULL, NULL}};
const struct command command_keyring_export = {
    .name = "keyring export",
    .synopsis = "KEY --out FILE [--export-kek URI]",
    .summary = "one key in an escrow file",
    .details = "  coffer keyring export 1f2e3d4c --out old.escrow --export-kek passphrase:\n",
    .options = options_export,
    .words_min = 1,
    .words_max = 1,
    .run = run_export,
};

struct import {
    const struct keyring *from;
    size_t count;
};

static int
change_import(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct import *import = arg;

    return keyring_import(kr, import->from, &import->count, err);
}

static int
run_import(struct cli *cli, struct coffer_error *err)
{
    const char *path = cli->args->words[0];
    const char *uri = args_text(cli->args, "export-kek");
    struct keyring_store *store = NULL;
    struct keyring *kr = NULL, *from = NULL;
    struct import import = {0};
    struct kek *kek = NULL;
    struct buf content;
    int rc;

    buf_init(&content, KEYRING_FILE_MAX);
    rc = cli->os->read_file(cli->os, path, KEYRING_FILE_MAX, &content, err);
    if (rc == COFFER_OK)
        rc = cli_keyring(cli, &store, &kr, err);
    if (rc == COFFER_OK && uri != NULL)
        rc = cli_kek(cli, uri, &kek, err);
    if (rc == COFFER_OK)
        rc = kek != NULL ? keyring_decode(buf_view(&content), kek, &from, err)
                         : keyring_decode_again(buf_view(&content), kr, &from, err);
    if (rc == COFFER_E_KEK && uri == NULL && kr != NULL)
        rc = error_set(err, rc, "%s does not open with this keyring's own KEK; say with --export-kek URI what it was "
                       "sealed under", path);
    else if (rc != COFFER_OK && content.len > 0 && kr != NULL && err->message[0] != '\0')
        (void)error_prefix(err, "%s: ", path);
    if (rc == COFFER_OK) {
        import.from = from;
        rc = audit_change(store, cli->os, cli->who, "key.import", NULL, change_import, &import, NULL, err);
    }
    if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:i}", "imported", (int)import.count));
    else if (rc == COFFER_OK && import.count == 0)
        (void)puts("Nothing to do: the keyring holds the key already.");
    else if (rc == COFFER_OK)
        (void)printf("Imported %zu key%s; `coffer key list` shows the state.\n", import.count,
                     import.count == 1 ? "" : "s");
    buf_wipe(&content);
    kek_close(kek);
    keyring_free(from);
    keyring_free(kr);
    file_store_close(store);
    return rc;
}

static const struct arg_option options_import[] = {
    {"export-kek", "URI", "what unlocks the escrow file, if it is not the keyring's own KEK"}, {NULL, NULL, NULL}};
const struct command command_keyring_import = {
    .name = "keyring import",
    .synopsis = "FILE [--export-kek URI]",
    .summary = "bring an escrowed key back",
    .details = "For reading data made under a key that is in escrow, as after restoring an old backup.\n\n"
               "  coffer keyring import k.coffer.escrow/1f2e3d4c.key\n",
    .options = options_import,
    .words_min = 1,
    .words_max = 1,
    .run = run_import,
};
