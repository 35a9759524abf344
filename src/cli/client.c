/* SPDX-License-Identifier: Apache-2.0 */
/* coffer client add|list|waive: clients that are declared, since they are not always there to be seen. */
#include "cli/commands.h"
#include "ledger/audit.h"

#include <stdlib.h>
#include <string.h>

struct declare {
    const char *name;
    int64_t now_us;
    bool waive;
    uint64_t epoch;
};

static int
change_client(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct declare *d = arg;
    struct keyring_client client = {.declared_us = d->now_us};

    if (strlen(d->name) >= sizeof client.name)
        return error_set(err, COFFER_E_LIMIT, "a client's name has at most %zu bytes", sizeof client.name - 1);
    memcpy(client.name, d->name, strlen(d->name) + 1);
    for (size_t i = 0; i < keyring_client_count(kr); i++) {
        if (strcmp(keyring_client_at(kr, i)->name, d->name) == 0) {
            client = *keyring_client_at(kr, i);
            if (!d->waive)
                return error_set(err, COFFER_E_EXISTS, "client %s is declared already", d->name);
            d->epoch = client.waived_epoch = keyring_epoch(kr) + 1; /* the one of this change */
            return keyring_client_put(kr, &client, err);
        }
    }
    if (d->waive)
        return error_set(err, COFFER_E_NOTFOUND, "no client %s is declared; `coffer client list` shows them", d->name);
    return keyring_client_put(kr, &client, err);
}

static int
change(struct cli *cli, bool waive, struct coffer_error *err)
{
    struct declare declare = {.name = cli->args->words[0], .now_us = cli->os->now_us(cli->os), .waive = waive};
    json_t *details = json_pack("{s:s}", "client", declare.name);
    char *text = details == NULL ? NULL : json_dumps(details, JSON_COMPACT);
    struct keyring_store *store = NULL;
    int rc;

    json_decref(details);
    if (text == NULL)
        return error_set(err, COFFER_E_MISUSE, "a client's name is UTF-8");
    rc = cli_store(cli, &store, err);
    if (rc == COFFER_OK)
        rc = audit_change(store, cli->os, cli->who, waive ? "client.waive" : "client.add", text, change_client, &declare,
                          NULL, err);
    free(text);
    file_store_close(store);
    if (rc != COFFER_OK)
        return rc;
    if (cli->json)
        out_json(json_pack("{s:s,s:s}", "client", declare.name, "event", waive ? "waived" : "declared"));
    else if (waive)
        (void)printf("What is open now does not wait for %s; later rotations do again.\n", declare.name);
    else
        (void)printf("Client %s is declared: gates wait until it has shown the epoch they need.\n", declare.name);
    return COFFER_OK;
}

static int
run_add(struct cli *cli, struct coffer_error *err)
{
    return change(cli, false, err);
}

static int
run_waive(struct cli *cli, struct coffer_error *err)
{
    return change(cli, true, err);
}

static int
run_list(struct cli *cli, struct coffer_error *err)
{
    static const char *const headings[] = {"CLIENT", "DECLARED", ">WAIVED UP TO EPOCH"};
    struct keyring_store *store = NULL;
    struct keyring *kr = NULL;
    struct table *t = table_new(headings, 3);
    json_t *list = json_array();
    int rc = cli_keyring(cli, &store, &kr, err);

    for (size_t i = 0; rc == COFFER_OK && i < keyring_client_count(kr); i++) {
        const struct keyring_client *c = keyring_client_at(kr, i);
        char declared[32], waived[24] = "-";

        time_text(c->declared_us, declared);
        if (c->waived_epoch != 0)
            (void)snprintf(waived, sizeof waived, "%llu", (unsigned long long)c->waived_epoch);
        table_row(t, (const char *const[]){c->name, declared, waived});
        json_array_append_new(list, json_pack("{s:s,s:o,s:I}", "client", c->name, "declared", out_time(c->declared_us),
                                              "waived_epoch", (json_int_t)c->waived_epoch));
    }
    if (rc == COFFER_OK && cli->json)
        out_json(json_incref(list));
    else if (rc == COFFER_OK)
        table_print(t, stdout, cli->colour);
    json_decref(list);
    table_free(t);
    keyring_free(kr);
    file_store_close(store);
    return rc;
}

const struct command command_client_add = {
    .name = "client add",
    .synopsis = "NAME",
    .summary = "declare a client that is not always there",
    .details = "For batch jobs, replicas' readers and offline clients: gates wait until NAME has shown the epoch.\n\n"
               "  coffer client add nightly-report\n",
    .options = options_none,
    .words_min = 1,
    .words_max = 1,
    .run = run_add,
};
const struct command command_client_list = {
    .name = "client list", .synopsis = "", .summary = "declared clients", .options = options_none, .run = run_list};
const struct command command_client_waive = {
    .name = "client waive",
    .synopsis = "NAME",
    .summary = "do not wait for a client in what is open now",
    .details = "Holds for every gate of the rotation that is open.  What NAME seals later under an\n"
               "old key meets the fence.  Later rotations wait for it again.\n",
    .options = options_none,
    .words_min = 1,
    .words_max = 1,
    .run = run_waive,
};
