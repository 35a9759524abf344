/* SPDX-License-Identifier: Apache-2.0 */
/* coffer key list|add|mark-compromised|why|destroy */
#include "cli/commands.h"
#include "cli/events.h"
#include "ledger/audit.h"
#include "ledger/guard.h"

#include <string.h>
#include <unistd.h>

static json_t *
key_json(const struct keyring *kr, const struct keyring_key *k)
{
    json_t *databases = json_array();
    char fingerprint[65];

    for (size_t i = 0; i < k->database_count; i++)
        json_array_append_new(databases, out_uuid(&k->databases[i]));
    hex_encode(bytes_of(k->fingerprint, 32), fingerprint);
    (void)kr;
    return json_pack("{s:o,s:s,s:s,s:s,s:o,s:i,s:b,s:o,s:s,s:s,s:o}", "id", out_key(k->id), "purpose",
                     key_purpose_name(k->purpose), "line", k->line, "state", key_state_name(k->state), "created",
                     out_time(k->entered_us[0]), "version", (int)k->version, "compromised", (int)k->compromised,
                     "since", out_time(k->entered_us[k->state]), "made_by", k->made_by, "fingerprint", fingerprint,
                     "databases", databases);
}

static int
run_list(struct cli *cli, struct coffer_error *err)
{
    static const char *const headings[] = {"KEY", "PURPOSE", "LINE", ">V", "STATE", "SINCE", "CREATED"};
    struct keyring_store *store = NULL;
    struct keyring *kr = NULL;
    struct table *t = NULL;
    json_t *list = NULL;
    int rc = cli_keyring(cli, &store, &kr, err);

    if (rc != COFFER_OK)
        return rc;
    if (cli->json)
        list = json_array();
    else
        t = table_new(headings, 7);
    for (size_t i = 0; i < keyring_key_count(kr); i++) { /* oldest first, so newest last */
        const struct keyring_key *k = keyring_key_at(kr, i);
        char id[9], version[16], state[48], since[32], created[32];

        if (cli->json) {
            json_array_append_new(list, key_json(kr, k));
            continue;
        }
        (void)snprintf(version, sizeof version, "%u", (unsigned)k->version);
        (void)snprintf(state, sizeof state, "%s%s", key_state_name(k->state), k->compromised ? ", compromised" : "");
        time_text(k->entered_us[k->state], since);
        time_text(k->entered_us[0], created);
        since[10] = created[10] = '\0'; /* the day is enough for people */
        table_row(t, (const char *const[]){key_hex(k->id, id), key_purpose_name(k->purpose), k->line, version, state,
                                           since, created});
    }
    if (cli->json)
        out_json(list);
    table_print(t, stdout, cli->colour);
    table_free(t);
    keyring_free(kr);
    file_store_close(store);
    return COFFER_OK;
}

const struct command command_key_list = {
    .name = "key list",
    .synopsis = "",
    .summary = "every key with its state, newest last",
    .details = "States: staged, active, draining, fenced, proven, escrowed, destroyed.\n\n  coffer key list --json\n",
    .options = options_none,
    .run = run_list,
};

struct change {
    uint32_t id;
    const char *line;
    const char *who;
    int64_t now_us;
};

static int
change_add(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct change *c = arg;

    return keyring_key_add(kr, KEY_FIELD, c->line, c->who, c->now_us, &c->id, err);
}

static int
run_add(struct cli *cli, struct coffer_error *err)
{
    const char *line = args_text(cli->args, "line");
    struct change change = {.line = line != NULL ? line : "main", .who = cli->who, .now_us = cli->os->now_us(cli->os)};
    struct keyring_store *store = NULL;
    int rc = cli_store(cli, &store, err);

    if (rc == COFFER_OK)
        rc = audit_change(store, cli->os, cli->who, "key.add", NULL, change_add, &change, NULL, err);
    file_store_close(store);
    if (rc != COFFER_OK)
        return rc;
    if (cli->json)
        out_json(json_pack("{s:o,s:s,s:s}", "id", out_key(change.id), "line", change.line, "state", "staged"));
    else
        (void)printf("Key %08x is staged in line %s: everybody can open under it, nobody seals yet.\n",
                     (unsigned)change.id, change.line);
    return COFFER_OK;
}

static const struct arg_option options_add[] = {{"line", "NAME", "the line it is for (main)"}, {NULL, NULL, NULL}};
const struct command command_key_add = {
    .name = "key add",
    .synopsis = "[--line NAME]",
    .summary = "stage a key for the next rotation",
    .details = "Rotations make their keys themselves; this stages one early, so that it can be handed around.\n",
    .options = options_add,
    .run = run_add,
};

static int
change_compromise(struct keyring *kr, void *arg, struct coffer_error *err)
{
    return keyring_key_compromise(kr, ((struct change *)arg)->id, err);
}

static int
run_compromised(struct cli *cli, struct coffer_error *err)
{
    struct keyring_store *store = NULL;
    struct change change = {0};
    char details[48];
    int rc = parse_key_id(cli->args->words[0], &change.id, err);

    if (rc == COFFER_OK)
        rc = cli_store(cli, &store, err);
    if (rc == COFFER_OK) {
        (void)snprintf(details, sizeof details, "{\"key\":\"%08x\"}", (unsigned)change.id);
        rc = audit_change(store, cli->os, cli->who, "key.compromised", details, change_compromise, &change, NULL, err);
    }
    file_store_close(store);
    if (rc != COFFER_OK)
        return rc;
    if (cli->json)
        out_json(json_pack("{s:o,s:b}", "id", out_key(change.id), "compromised", 1));
    else
        (void)printf("Key %08x is marked compromised.  Replace it: coffer rotate DATABASE\n", (unsigned)change.id);
    return COFFER_OK;
}

const struct command command_key_compromised = {
    .name = "key mark-compromised",
    .synopsis = "KEY",
    .summary = "say that a key has leaked",
    .details = "It is shown wherever the key is, and an aborted rotation never goes back to it.\n",
    .options = options_none,
    .words_min = 1,
    .words_max = 1,
    .run = run_compromised,
};

static int
print_holder(void *arg, const struct guard_holder *holder, struct coffer_error *err)
{
    struct cli *cli = arg;

    (void)err;
    if (cli->json)
        out_json(json_pack("{s:s,s:s,s:s,s:o,s:b}", "kind", holder->kind, "name", holder->name, "text", holder->text, "until",
                           out_time(holder->until_us), "waived", (int)holder->waived));
    else {
        char line[1200];

        (void)snprintf(line, sizeof line, "%s%s", holder->text, holder->waived ? " (waived)" : "");
        (void)printf("  %-9s ", holder->kind);
        print_wrapped(stdout, line, 12, terminal_width(STDOUT_FILENO));
    }
    if (!cli->json && holder->name[0] != '\0')
        (void)printf("  %-9s by name: --waive '%s'\n", "", holder->name);
    return COFFER_OK;
}

static int
run_why(struct cli *cli, struct coffer_error *err)
{
    struct keyring_store *store = NULL;
    struct keyring *kr = NULL;
    uint32_t id = 0;
    size_t count = 0;
    int rc = parse_key_id(cli->args->words[0], &id, err);

    if (rc == COFFER_OK)
        rc = cli_keyring(cli, &store, &kr, err);
    if (rc == COFFER_OK && keyring_key(kr, id) == NULL)
        rc = error_set(err, COFFER_E_KEY, "the keyring holds no key %08x; `coffer key list` shows them", (unsigned)id);
    if (rc == COFFER_OK && !cli->json)
        (void)printf("Key %08x is %s.  What needs it:\n", (unsigned)id, key_state_name(keyring_key(kr, id)->state));
    if (rc == COFFER_OK)
        rc = guard_why(kr, id, cli->os->now_us(cli->os), print_holder, cli, &count, err);
    if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:o,s:I}", "key", out_key(id), "holders", (json_int_t)count));
    else if (rc == COFFER_OK && count == 0)
        (void)puts("  nothing; it may be destroyed");
    keyring_free(kr);
    file_store_close(store);
    return rc;
}

const struct command command_key_why = {
    .name = "key why",
    .synopsis = "KEY",
    .summary = "what still needs a key",
    .details = "Live data, databases without a certificate, backups and the retention promise.\n",
    .options = options_none,
    .words_min = 1,
    .words_max = 1,
    .run = run_why,
};

static int
run_destroy(struct cli *cli, struct coffer_error *err)
{
    const char *waive[ARGS_MAX];
    size_t waive_count = args_all(cli->args, "waive", waive, ARGS_MAX);
    struct events events;
    struct rotate_env env;
    char question[160];
    uint32_t id = 0;
    int rc = parse_key_id(cli->args->words[0], &id, err);

    if (rc == COFFER_OK)
        rc = events_env(cli, &events, NULL, &env, err);
    if (rc != COFFER_OK)
        return rc;
    (void)snprintf(question, sizeof question, "Destroy key %08x for ever?  Nothing sealed under it can be opened after.",
                   (unsigned)id);
    if (!args_flag(cli->args, "yes") && !prompt_yes(question))
        rc = error_set(err, COFFER_E_CANCELLED, "nothing was destroyed (--yes answers the question)");
    else
        rc = rotate_destroy(&env, id, waive, waive_count, err);
    if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:o}", "destroyed", out_key(id)));
    else if (rc == COFFER_OK)
        (void)printf("Key %08x is destroyed.  Its id and history stay in the keyring.\n", (unsigned)id);
    events_end(&events, &env);
    return rc;
}

static const struct arg_option options_destroy[] = {
    {"waive", "NAME", "destroy although NAME (as `key why` names it) needs the key; once for each"}, {NULL, NULL, NULL}};
const struct command command_key_destroy = {
    .name = "key destroy",
    .synopsis = "KEY [--waive NAME]…",
    .summary = "destroy a retired key's material",
    .details = "Refused while a backup, the retention promise or a database needs the key.\n\n"
               "  coffer key why 1f2e3d4c\n  coffer key destroy 1f2e3d4c\n",
    .options = options_destroy,
    .words_min = 1,
    .words_max = 1,
    .run = run_destroy,
};
