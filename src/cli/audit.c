/* SPDX-License-Identifier: Apache-2.0 */
/* coffer audit [--verify] [--accept-loss] */
#include "cli/commands.h"
#include "ledger/audit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AUDIT_MAX (256u << 20)

/* {"key":"1f2e3d4c"} as "key 1f2e3d4c"; what is no plain word stays JSON, so that no name can steer a terminal. */
static void
put_details(const char *details, struct buf *out)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/@+-";
    json_t *object = json_loads(details != NULL ? details : "{}", 0, NULL), *value;
    const char *name, *separator = "  ";

    json_object_foreach(object, name, value)
    {
        const char *text = json_string_value(value);
        char *dumped = text != NULL && text[0] != '\0' && text[strspn(text, plain)] == '\0'
                           ? NULL
                           : json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_COMPACT);

        buf_format(out, "%s%s %s", separator, name, dumped != NULL ? dumped : text);
        separator = ", ";
        free(dumped);
    }
    json_decref(object);
}

static int
print_entry(void *arg, const struct audit_entry *entry, struct coffer_error *err)
{
    const struct cli *cli = arg;
    char at[32];

    (void)err;
    if (args_flag(cli->args, "verify"))
        return COFFER_OK;
    time_text(entry->at_us, at);
    if (cli->json)
        out_json(json_pack("{s:I,s:o,s:s,s:s,s:s}", "seq", (json_int_t)entry->seq, "at", out_time(entry->at_us), "who",
                           entry->who, "event", entry->event, "details",
                           entry->details != NULL ? entry->details : ""));
    else {
        struct buf line;

        buf_init(&line, 1u << 20);
        buf_format(&line, "%s  %s  %s", at, entry->event, entry->who);
        put_details(entry->details, &line);
        (void)printf("%5llu  ", (unsigned long long)entry->seq);
        print_wrapped(stdout, buf_cstr(&line), 7, terminal_width(STDOUT_FILENO));
        buf_wipe(&line);
    }
    return COFFER_OK;
}

static int
run_audit(struct cli *cli, struct coffer_error *err)
{
    struct keyring_store *store = NULL;
    struct keyring *kr = NULL;
    uint64_t count = 0;
    struct buf log;
    int rc = cli_keyring(cli, &store, &kr, err);

    buf_init(&log, AUDIT_MAX);
    if (rc == COFFER_OK && args_flag(cli->args, "accept-loss"))
        rc = audit_accept_loss(store, cli->os, cli->who, err);
    if (rc == COFFER_OK && args_flag(cli->args, "accept-loss")) { /* what follows is read with the new mark */
        keyring_free(kr);
        rc = store->load(store, &kr, err);
    }
    if (rc == COFFER_OK)
        rc = store->audit_read(store, &log, err);
    if (rc == COFFER_OK)
        rc = audit_verify(buf_view(&log), kr, NULL, print_entry, cli, &count, err);
    if (rc == COFFER_OK && args_flag(cli->args, "verify") && cli->json)
        out_json(json_pack("{s:b,s:I}", "valid", 1, "entries", (json_int_t)count));
    else if (rc == COFFER_OK && args_flag(cli->args, "verify"))
        (void)printf("Valid: %llu entr%s, each hash and signature holds, and the last is the one the keyring knows.\n",
                     (unsigned long long)count, count == 1 ? "y" : "ies");
    buf_wipe(&log);
    keyring_free(kr);
    file_store_close(store);
    return rc;
}

static const struct arg_option options_audit[] = {
    {"verify", NULL, "only check every hash, signature and the keyring's mark"},
    {"accept-loss", NULL, "the log was cut or lost for good: go on from what is there, and say so in it"},
    {NULL, NULL, NULL}};
const struct command command_audit = {
    .name = "audit",
    .synopsis = "[--verify] [--accept-loss]",
    .summary = "what was done to keys, by whom",
    .details = "Every line is checked before it is shown.\n\n  coffer audit\n  coffer audit --verify\n",
    .options = options_audit,
    .run = run_audit,
};
