/* SPDX-License-Identifier: Apache-2.0 */
/* coffer backup create|list|restore|verify|expire|policy of a state folder. */
#include "cli/backup_api.h"
#include "cli/api_client.h"
#include "cli/commands.h"

#include <string.h>

bool
backup_of_state(struct cli *cli)
{
    struct coffer_error quiet = {0};
    char dir[1024];

    return args_text(cli->args, "state") != NULL ||
           (args_text(cli->args, "keyring") == NULL && cli_state_find(cli, dir, &quiet) == COFFER_OK && dir[0] != '\0');
}

static int
print_result(struct cli *cli, json_t *reply, const char *what)
{
    if (cli->json) {
        out_json(reply);
        return COFFER_OK;
    }
    (void)printf("Backup %s %s.\n", api_text(reply, "id"), what);
    json_decref(reply);
    return COFFER_OK;
}

static int
run_create(struct cli *cli, struct coffer_error *err)
{
    const char *kind = args_text(cli->args, "kind");
    json_t *body = json_pack("{s:s}", "database", cli->args->words[0]), *reply = NULL;
    int rc;

    if (kind != NULL)
        (void)json_object_set_new(body, "kind", json_string(kind));
    rc = api_run(cli, "POST", body, &reply, err, "/backups", NULL);
    return rc == COFFER_OK ? print_result(cli, reply, "is made") : rc;
}

int
backup_api_list(struct cli *cli, struct coffer_error *err)
{
    static const char *const headings[] = {"ID", "DATABASE", "KIND", "STARTED", ">SIZE", "STATE", "EXPIRES"};
    json_t *list = NULL, *one;
    struct table *t;
    size_t i;
    int rc = api_call(cli, "GET", NULL, &list, err, "/backups", NULL);

    if (rc != COFFER_OK)
        return rc;
    if (cli->json) {
        out_json(list);
        return COFFER_OK;
    }
    t = table_new(headings, 7);
    json_array_foreach(list, i, one) {
        char size[32], started[32], expires[32];

        api_size(one, "bytes", size);
        api_time(one, "started", started);
        api_time(one, "expires", expires);
        table_row(t, (const char *const[]){api_text(one, "id"), api_text(one, "name"), api_text(one, "kind"), started, size,
                                           api_text(one, "state"), expires});
    }
    table_print(t, stdout, cli->colour);
    table_free(t);
    json_decref(list);
    return COFFER_OK;
}

static int
run_restore(struct cli *cli, struct coffer_error *err)
{
    const char *as = args_text(cli->args, "as"), *until = args_text(cli->args, "until");
    json_t *body, *reply = NULL;
    int rc;

    if (as == NULL)
        return error_set(err, COFFER_E_MISUSE, "backup restore needs the new database's name: --as NAME");
    body = json_pack("{s:s}", "as", as);
    if (until != NULL)
        (void)json_object_set_new(body, "until", json_string(until));
    rc = api_run(cli, "POST", body, &reply, err, "/backups/%s/restore", cli->args->words);
    json_decref(reply);
    reply = NULL;
    if (rc == COFFER_OK)
        rc = api_call(cli, "GET", NULL, &reply, err, "/databases/%s", (const char *const[]){as});
    if (rc == COFFER_OK && cli->json)
        out_json(json_incref(reply));
    else if (rc == COFFER_OK)
        (void)printf("Restored as database %s, %s.\n", as, api_text(reply, "state"));
    json_decref(reply);
    return rc;
}

static int
run_verify(struct cli *cli, struct coffer_error *err)
{
    json_t *reply = NULL;
    int rc = api_run(cli, "POST", json_object(), &reply, err, "/backups/%s/verify", cli->args->words);

    return rc == COFFER_OK ? print_result(cli, reply, "was restored and read: it is good") : rc;
}

int
backup_api_expire(struct cli *cli, struct coffer_error *err)
{
    json_t *reply = NULL;
    int rc = api_run(cli, "POST", json_object(), &reply, err, "/backups/%s/expire", cli->args->words);

    return rc == COFFER_OK ? print_result(cli, reply, "is removed") : rc;
}

int
backup_api_policy(struct cli *cli, struct coffer_error *err)
{
    const char *keep = args_text(cli->args, "keep"), *schedule = args_text(cli->args, "schedule");
    json_t *body = json_object(), *reply = NULL;
    int64_t ms = 0;
    int rc = cli->args->word_count == 1 ? COFFER_OK : error_set(err, COFFER_E_MISUSE, "usage: coffer backup policy NAME --keep TIME");

    if (rc == COFFER_OK && keep != NULL)
        rc = parse_duration("keep", keep, &ms, err);
    if (rc == COFFER_OK && keep != NULL)
        (void)json_object_set_new(body, "keep_days", json_integer((ms + 86399999) / 86400000));
    if (schedule != NULL)
        (void)json_object_set_new(body, "schedule", json_string(schedule));
    if (rc != COFFER_OK) {
        json_decref(body);
        return rc;
    }
    rc = json_object_size(body) > 0 ? api_call(cli, "PUT", body, &reply, err, "/databases/%s/retention", cli->args->words)
                                    : api_call(cli, "GET", NULL, &reply, err, "/databases/%s/retention", cli->args->words);
    if (keep == NULL && schedule == NULL)
        json_decref(body);
    if (rc == COFFER_OK && cli->json)
        out_json(json_incref(reply));
    else if (rc == COFFER_OK)
        (void)printf("Backups of %s are kept for %lld days.\n", cli->args->words[0],
                     (long long)json_integer_value(json_object_get(reply, "keep_days")));
    json_decref(reply);
    return rc;
}

static const struct arg_option options_create[] = {{"kind", "KIND", "physical or logical"}, {NULL, NULL, NULL}};
static const struct arg_option options_restore[] = {
    {"as", "NAME", "the new database"}, {"until", "TIME", "as it was then, where its log is archived"}, {NULL, NULL, NULL}};
const struct command command_backup_create = {
    .name = "backup create", .synopsis = "NAME [--kind physical|logical]", .summary = "back a database of cofferd up",
    .details = "  coffer --state ./dbs backup create clinic\n", .options = options_create, .words_min = 1, .words_max = 1, .run = run_create};
const struct command command_backup_restore = {
    .name = "backup restore", .synopsis = "ID --as NAME [--until TIME]", .summary = "restore as a new database",
    .details = "  coffer --state ./dbs backup restore ID --as clinic2\n", .options = options_restore, .words_min = 1, .words_max = 1, .run = run_restore};
const struct command command_backup_verify = {
    .name = "backup verify", .synopsis = "ID", .summary = "prove by a restore that a backup is good",
    .options = options_none, .words_min = 1, .words_max = 1, .run = run_verify};
