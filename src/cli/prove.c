/* SPDX-License-Identifier: Apache-2.0 */
/* coffer prove: make a certificate, or check one without any keyring. */
#include "cli/commands.h"
#include "cli/events.h"
#include "crypto/crypto.h"
#include "ledger/certificate.h"

#include <unistd.h>

static void
print_line(void *arg, const char *line)
{
    if (((struct cli *)arg)->json)
        return;
    (void)fputs("  ", stdout);
    print_wrapped(stdout, line, 4, terminal_width(STDOUT_FILENO));
}

static int
verify(struct cli *cli, const char *path, struct coffer_error *err)
{
    const char *key_path = args_text(cli->args, "audit-key");
    struct buf file, pem;
    uint8_t key[32];
    uint32_t id = 0;
    int rc;

    if (key_path == NULL)
        return error_set(err, COFFER_E_MISUSE,
                         "prove --verify needs --audit-key FILE (from `coffer keyring show --audit-key`)");
    buf_init(&file, 16u << 20);
    buf_init(&pem, 65536);
    rc = cli->os->read_file(cli->os, key_path, 65536, &pem, err);
    if (rc == COFFER_OK) {
        rc = ed25519_pem_read(buf_view(&pem), key, err);
        if (rc != COFFER_OK)
            (void)error_prefix(err, "%s: ", key_path);
    }
    if (rc == COFFER_OK)
        rc = cli->os->read_file(cli->os, path, 16u << 20, &file, err);
    if (rc == COFFER_OK) {
        rc = certificate_verify(buf_view(&file), key, print_line, cli, &id, err);
        if (rc != COFFER_OK)
            (void)error_prefix(err, "%s: ", path);
    }
    if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:b,s:o}", "valid", 1, "key", out_key(id)));
    else if (rc == COFFER_OK)
        (void)printf("Valid: signed by this audit key; nothing live was under key %08x.\n", (unsigned)id);
    buf_wipe(&file);
    buf_wipe(&pem);
    return rc;
}

static int
run_prove(struct cli *cli, struct coffer_error *err)
{
    const char *file = args_text(cli->args, "verify"), *path = args_text(cli->args, "out");
    const char *accepted[ARGS_MAX];
    struct rotate_options options = {0};
    struct events events;
    struct rotate_env env;
    struct buf certificate;
    uint32_t id = 0;
    size_t next = 0;
    bool force = args_flag(cli->args, "force");
    uint64_t stamp = 0;
    int rc;

    if (file != NULL)
        return verify(cli, file, err);
    if (path != NULL && !force) { /* before a scan that may take an hour */
        rc = cli->os->stamp_file(cli->os, path, &stamp, err);
        if (rc == COFFER_OK && stamp != 0)
            rc = error_set(err, COFFER_E_EXISTS, "%s exists; name another file, or overwrite it with --force", path);
        if (rc != COFFER_OK)
            return rc;
    }
    options.accept_unregistered = accepted;
    options.accept_unregistered_count = args_all(cli->args, "accept-unregistered", accepted, ARGS_MAX);
    buf_init(&certificate, 16u << 20);
    rc = cli_url(cli, &next, &events.url, err);
    if (rc == COFFER_OK && next + 1 != cli->args->word_count)
        rc = error_set(err, COFFER_E_MISUSE, "usage: coffer prove %s", cli->command->synopsis);
    if (rc == COFFER_OK)
        rc = parse_key_id(cli->args->words[next], &id, err);
    next = 0;
    if (rc == COFFER_OK)
        rc = events_env(cli, &events, &next, &env, err);
    if (rc != COFFER_OK)
        return rc;
    if (path == NULL)
        env.say = NULL; /* stdout is the certificate's */
    rc = rotate_prove(&env, id, &options, &certificate, err);
    if (rc == COFFER_OK && path != NULL)
        rc = cli->os->write_file(cli->os, path, buf_view(&certificate), 0644, !force, err);
    events_end(&events, &env);
    if (rc == COFFER_OK && path == NULL)
        (void)fwrite(certificate.ptr, 1, certificate.len, stdout);
    else if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:o,s:s}", "proven", out_key(id), "certificate", path));
    else if (rc == COFFER_OK)
        (void)printf("Proven: nothing live is under key %08x.  The signed certificate is in %s.\n", (unsigned)id, path);
    buf_wipe(&certificate);
    return rc;
}

static const struct arg_option options_prove[] = {
    {"out", "FILE", "where the certificate goes (standard output); never overwrites without --force"},
    {"force", NULL, "with --out: overwrite the file"},
    {"verify", "FILE", "check a certificate; needs no keyring and no database"},
    {"audit-key", "FILE", "the public key to check it with, PEM"},
    {"accept-unregistered", "T.C", "envelopes found in this unprotected column are known; once for each"},
    {NULL, NULL, NULL}};
const struct command command_prove = {
    .name = "prove",
    .synopsis = "DBURL KEY [--out FILE [--force]]  |  --verify FILE --audit-key FILE",
    .summary = "certify that nothing live is under a key",
    .details = "  coffer prove sqlite:app.db 1f2e3d4c --out cert.json\n"
               "  coffer prove --verify cert.json --audit-key pub.pem\n",
    .options = options_prove,
    .more_options = options_url,
    .words_max = 2,
    .run = run_prove,
};
