/* SPDX-License-Identifier: Apache-2.0 */
/* coffer backup register|list|expire|policy: what the destroy guard knows of backups. */
#include "base/mem.h"
#include "cli/backup_api.h"
#include "cli/commands.h"
#include "ledger/audit.h"

#include <stdlib.h>
#include <string.h>

struct backup_change {
    const char *url, *label;
    struct uuid id; /* of the backup */
    int64_t start_us, end_us, now_us;
    uint32_t keep_days;
};

static int
change_register(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct backup_change *c = arg;
    const struct keyring_database *database;
    struct keyring_backup backup = {.id = c->id, .start_us = c->start_us, .end_us = c->end_us};
    int rc = cli_known_database(kr, c->url, &database, err);

    if (rc != COFFER_OK)
        return rc;
    for (size_t i = 0; i < keyring_backup_count(kr); i++) {
        const struct keyring_backup *b = keyring_backup_at(kr, i);

        if (b->expired_us == 0 && strcmp(b->label, c->label) == 0)
            return error_set(err, COFFER_E_EXISTS, "a backup with the label %s is registered already", c->label);
    }
    backup.database = database->id;
    (void)snprintf(backup.label, sizeof backup.label, "%s", c->label);
    return keyring_backup_put(kr, &backup, err);
}

static int
change_expire(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct backup_change *c = arg;

    for (size_t i = 0; i < keyring_backup_count(kr); i++) {
        struct keyring_backup backup = *keyring_backup_at(kr, i);
        char id[37];

        uuid_format(&backup.id, id);
        if (backup.expired_us == 0 && (strcmp(backup.label, c->label) == 0 || strcmp(id, c->label) == 0)) {
            backup.expired_us = c->now_us;
            return keyring_backup_put(kr, &backup, err);
        }
    }
    return error_set(err, COFFER_E_NOTFOUND, "no backup %s is there; `coffer backup list` shows them", c->label);
}

static int
change_policy(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct backup_change *c = arg;
    const struct keyring_database *known;
    struct keyring_database database;
    int rc = cli_known_database(kr, c->url, &known, err);

    if (rc != COFFER_OK)
        return rc;
    database = *known;
    database.keep_days = c->keep_days;
    return keyring_database_put(kr, &database, err);
}

static int
audited(struct cli *cli, const char *event, json_t *details, keyring_change change, void *arg, struct coffer_error *err)
{
    char *text = details == NULL ? NULL : json_dumps(details, JSON_COMPACT);
    struct keyring_store *store = NULL;
    int rc;

    json_decref(details);
    if (text == NULL)
        return error_set(err, COFFER_E_MISUSE, "names are UTF-8");
    rc = cli_store(cli, &store, err);
    if (rc == COFFER_OK)
        rc = audit_change(store, cli->os, cli->who, event, text, change, arg, NULL, err);
    free(text);
    file_store_close(store);
    return rc;
}

static int
run_register(struct cli *cli, struct coffer_error *err)
{
    int64_t now = cli->os->now_us(cli->os);
    const char *start = args_text(cli->args, "start"), *end = args_text(cli->args, "end");
    struct backup_change change = {.now_us = now, .start_us = now, .end_us = now};
    struct cli_url url;
    size_t next = 0;
    int rc = cli_url(cli, &next, &url, err);

    if (rc == COFFER_OK && next + 1 != cli->args->word_count)
        rc = error_set(err, COFFER_E_MISUSE, "usage: coffer backup register %s", cli->command->synopsis);
    if (rc == COFFER_OK && start != NULL)
        rc = parse_time("start", start, now, &change.start_us, err);
    if (rc == COFFER_OK && end != NULL && strcmp(end, "open") == 0)
        change.end_us = 0;
    else if (rc == COFFER_OK && end != NULL)
        rc = parse_time("end", end, now, &change.end_us, err);
    if (rc == COFFER_OK && change.end_us != 0 && change.end_us < change.start_us)
        rc = error_set(err, COFFER_E_MISUSE, "the backup ends before it starts");
    if (rc == COFFER_OK)
        rc = uuid_new(&change.id, err);
    if (rc != COFFER_OK)
        return rc;
    change.url = url.text;
    change.label = cli->args->words[next];
    if (strlen(change.label) >= KEYRING_NAME_MAX)
        return error_set(err, COFFER_E_LIMIT, "a label has at most %d bytes", KEYRING_NAME_MAX - 1);
    rc = audited(cli, "backup.register", json_pack("{s:s}", "label", change.label), change_register, &change, err);
    if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:o,s:s}", "id", out_uuid(&change.id), "label", change.label));
    else if (rc == COFFER_OK)
        (void)printf("Backup %s is registered: keys that it needs cannot be destroyed until it expires.\n",
                     change.label);
    return rc;
}

static int
run_expire(struct cli *cli, struct coffer_error *err)
{
    struct backup_change change = {.label = cli->args->words[0], .now_us = cli->os->now_us(cli->os)};
    int rc;

    if (backup_of_state(cli))
        return backup_api_expire(cli, err);
    rc = audited(cli, "backup.expire", json_pack("{s:s}", "label", change.label), change_expire, &change, err);

    if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:s}", "expired", change.label));
    else if (rc == COFFER_OK)
        (void)printf("Backup %s is expired: it holds no key any more.\n", change.label);
    return rc;
}

static int
run_policy(struct cli *cli, struct coffer_error *err)
{
    const char *keep = args_text(cli->args, "keep");
    struct backup_change change = {0};
    struct cli_url url;
    int64_t ms = 0;
    size_t next = 0;
    int rc;

    if (backup_of_state(cli))
        return backup_api_policy(cli, err);
    rc = cli_url(cli, &next, &url, err);
    if (rc == COFFER_OK && next != cli->args->word_count)
        rc = error_set(err, COFFER_E_MISUSE, "usage: coffer backup policy %s", cli->command->synopsis);
    if (rc == COFFER_OK && keep == NULL)
        rc = error_set(err, COFFER_E_MISUSE, "backup policy needs --keep TIME, like --keep 35d");
    if (rc == COFFER_OK)
        rc = parse_duration("keep", keep, &ms, err);
    if (rc != COFFER_OK)
        return rc;
    change.url = url.text;
    change.keep_days = (uint32_t)((ms + 86399999) / 86400000); /* a part of a day is a day */
    rc = audited(cli, "backup.policy", json_pack("{s:i}", "keep_days", (int)change.keep_days), change_policy, &change,
                 err);
    if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:i}", "keep_days", (int)change.keep_days));
    else if (rc == COFFER_OK)
        (void)printf("Backups that nobody registered are promised to be readable for %u day%s.\n",
                     (unsigned)change.keep_days, change.keep_days == 1 ? "" : "s");
    return rc;
}

static int
run_list(struct cli *cli, struct coffer_error *err)
{
    static const char *const headings[] = {"LABEL", "DATABASE", "START", "END", "EXPIRED"};
    struct keyring_store *store = NULL;
    struct keyring *kr = NULL;
    struct table *t;
    json_t *list;
    int rc;

    if (backup_of_state(cli))
        return backup_api_list(cli, err);
    t = table_new(headings, 5);
    list = json_array();
    rc = cli_keyring(cli, &store, &kr, err);

    for (size_t i = 0; rc == COFFER_OK && i < keyring_backup_count(kr); i++) {
        const struct keyring_backup *b = keyring_backup_at(kr, i);
        const struct keyring_database *d = keyring_database(kr, &b->database);
        const char *name = d != NULL ? d->name : "?";
        char start[32], end[32], expired[32];

        time_text(b->start_us, start);
        time_text(b->end_us, end);
        time_text(b->expired_us, expired);
        table_row(t, (const char *const[]){b->label, name, start, b->end_us == 0 ? "open" : end, expired});
        json_array_append_new(list, json_pack("{s:o,s:s,s:s,s:o,s:o,s:o}", "id", out_uuid(&b->id), "label", b->label,
                                              "database", name, "start", out_time(b->start_us), "end",
                                              out_time(b->end_us), "expired", out_time(b->expired_us)));
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

static const struct arg_option options_register[] = {
    {"start", "TIME", "when it began (now)"},
    {"end", "TIME", "when it ended (now); open for a WAL archive that goes on"},
    {NULL, NULL, NULL}};
const struct command command_backup_register = {
    .name = "backup register",
    .synopsis = "DBURL LABEL [--start TIME] [--end TIME|open]",
    .summary = "say that a backup was made",
    .details = "  coffer backup register sqlite:app.db nightly-2026-11-24\n"
               "  coffer backup register sqlite:app.db wal --start 2026-01-01 --end open\n"
               "  coffer backup register volume:/srv/db monday\n",
    .options = options_register,
    .more_options = options_url,
    .words_max = 2,
    .run = run_register,
};
const struct command command_backup_list = {
    .name = "backup list", .synopsis = "", .summary = "registered backups", .options = options_none, .run = run_list};
const struct command command_backup_expire = {
    .name = "backup expire",
    .synopsis = "LABEL",
    .summary = "say that a backup is gone",
    .options = options_none,
    .words_min = 1,
    .words_max = 1,
    .run = run_expire,
};
static const struct arg_option options_policy[] = {
    {"keep", "TIME", "how long backups that nobody registered are kept, like 35d"},
    {"schedule", "TIME", "with --state: when backups are made"},
    {NULL, NULL, NULL}};
const struct command command_backup_policy = {
    .name = "backup policy",
    .synopsis = "DBURL --keep TIME",
    .summary = "promise for backups that nobody registered",
    .details = "Snapshots and dump jobs that Coffer does not know of: 400 days until somebody says otherwise.\n\n"
               "  coffer backup policy sqlite:app.db --keep 35d\n",
    .options = options_policy,
    .more_options = options_url,
    .words_max = 1,
    .run = run_policy,
};
