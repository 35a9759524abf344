/* SPDX-License-Identifier: Apache-2.0 */
/* coffer volume export: the passphrase with which a kernel mounts a volume. */
#include "cli/volume.h"
#include "ledger/audit.h"
#include "volume/ecryptfs/ecryptfs.h"

#include <stdlib.h>
#include <string.h>

/* The wrapped form; asks for the wrapping passphrase, twice, where no file has it. */
static int
wrap(struct cli *cli, const struct secret *passphrase, struct buf *out, struct coffer_error *err)
{
    struct secret *wrapping = NULL;
    int rc = cli_wrapping(cli, "Passphrase to wrap it with:", true, &wrapping, err);

    if (rc == COFFER_OK)
        rc = ecryptfs_wrap(secret_expose(passphrase), secret_expose(wrapping), out, err);
    secret_free(wrapping);
    return rc;
}

/* Before anything is written: that a key leaves is in the audit log even if the rest fails. */
static int
audit(struct cli *cli, const struct cli_volume *volume, const char *path, struct coffer_error *err)
{
    char id[37], key[9];
    json_t *details;
    char *text;
    int rc;

    uuid_format(&volume->setup.id, id);
    details = json_pack("{s:s,s:s,s:o}", "volume", id, "key",
                        key_hex(volume->setup.keys.keys[0].id, key), "file", out_path(path));
    text = details == NULL ? NULL : json_dumps(details, JSON_COMPACT);
    rc = text == NULL ? error_set(err, COFFER_E_NOMEM, "out of memory")
                      : audit_change(volume->store, cli->os, cli->who, "volume.export", text, NULL,
                                     NULL, NULL, err);
    free(text);
    json_decref(details);
    return rc;
}

static void
say_how(const struct cli *cli, const struct volume_setup *setup, const char *path, bool wrapped)
{
    const char *sig = setup->keys.keys[0].name;
    char options[256];

    (void)snprintf(options, sizeof options,
                   "ecryptfs_sig=%s,%s%s%secryptfs_cipher=aes,ecryptfs_key_bytes=%u%s", sig,
                   setup->options.encrypt_names ? "ecryptfs_fnek_sig=" : "",
                   setup->options.encrypt_names ? sig : "", setup->options.encrypt_names ? "," : "",
                   setup->options.key_bits / 8,
                   setup->options.xattr_metadata ? ",ecryptfs_xattr_metadata" : "");
    if (cli->json) {
        out_json(json_pack("{s:o,s:b,s:s,s:s,s:o}", "file", out_path(path), "wrapped", (int)wrapped,
                           "signature", sig, "options", options, "lower", out_path(setup->lower)));
        return;
    }
    (void)printf("Wrote %s%s.  Whoever has it%s opens the volume, without the keyring.\n\n"
                 "Where a kernel has eCryptfs, with the volume not mounted by Coffer:\n\n"
                 "  %s%s\n  mount -i -t ecryptfs -o %s %s MOUNTPOINT\n",
                 path, wrapped ? ", under the wrapping passphrase" : "",
                 wrapped ? " and that one" : "",
                 wrapped ? "ecryptfs-insert-wrapped-passphrase-into-keyring "
                         : "ecryptfs-add-passphrase - <",
                 path, options, setup->lower);
}

static int
run_export(struct cli *cli, struct coffer_error *err)
{
    const char *path = args_text(cli->args, "passphrase-file");
    bool wrapped = args_flag(cli->args, "wrapped");
    struct cli_volume volume = {.lock = -1};
    struct secret *passphrase = NULL;
    struct buf file;
    uint32_t id;
    int rc;

    if (path == NULL)
        return error_set(err, COFFER_E_MISUSE,
                         "volume export needs --passphrase-file FILE, which it makes");
    buf_init(&file, 4096);
    rc = cli_keyring(cli, &volume.store, &volume.keyring, err);
    if (rc == COFFER_OK)
        rc = volume_setup_load(cli->args->words[0], volume.keyring, args_flag(cli->args, "moved"),
                               &volume.setup, err);
    if (rc == COFFER_OK &&
        (volume.setup.rotation.work != 0 || volume.setup.keys.count > 1 || volume.setup.importing))
        rc = error_set(err, COFFER_E_REFUSED,
                       "files of %s are under more than one key while it is %s: one passphrase "
                       "would not open all of them.  "
                       "Let that end first",
                       volume.setup.lower, volume.setup.importing ? "imported" : "rotated");
    if (rc != COFFER_OK)
        goto out;
    id = volume.setup.keys.keys[0].id;
    rc = volume_passphrase(keyring_material(volume.keyring, id), id, &passphrase, err);
    if (rc == COFFER_OK && wrapped)
        rc = wrap(cli, passphrase, &file, err);
    else if (rc == COFFER_OK)
        buf_bytes(&file, secret_expose(passphrase));
    if (rc == COFFER_OK)
        rc = buf_status(&file, err);
    if (rc == COFFER_OK)
        rc = audit(cli, &volume, path, err);
    if (rc == COFFER_OK)
        rc = cli->os->write_file(cli->os, path, buf_view(&file), 0600, true, err);
    if (rc == COFFER_OK)
        say_how(cli, &volume.setup, path, wrapped);
out:
    secret_free(passphrase);
    buf_wipe(&file);
    cli_volume_close(&volume);
    return rc;
}

static const struct arg_option options_export[] = {
    {"passphrase-file", "FILE", "make FILE, for you alone (0600); never overwritten"},
    {"wrapped", NULL, "as a wrapped-passphrase file, under another passphrase"},
    {"wrapping-file", "FILE", "that one is the first line of FILE; else it is asked for"},
    {"moved", NULL, "the folder is a copy, or was moved: all the same"},
    {NULL, NULL, NULL}};
const struct command command_volume_export = {
    .name = "volume export",
    .synopsis = "--passphrase-file FILE [--wrapped] LOWER",
    .summary = "the passphrase with which a kernel mounts a volume",
    .details = "Coffer's key of the volume as an eCryptfs mount passphrase: for machines that have "
               "eCryptfs and no Coffer, and for "
               "a safe.  After a rotation it opens only what was not rotated.\n\n"
               "  coffer volume export --passphrase-file pg.pass /srv/pg.coffer\n",
    .options = options_export,
    .words_min = 1,
    .words_max = 1,
    .run = run_export,
};
