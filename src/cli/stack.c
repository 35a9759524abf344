/* SPDX-License-Identifier: Apache-2.0 */
/* coffer stack create|list */
#include "cli/api_client.h"
#include "cli/commands.h"

static int
run_create(struct cli *cli, struct coffer_error *err)
{
    const char *version = args_text(cli->args, "version");
    json_t *reply = NULL;
    int rc = api_call(cli, "POST", json_pack("{s:s,s:s}", "name", cli->args->words[0], "version", version != NULL ? version : "v2"),
                      &reply, err, "/stacks", NULL);

    if (rc != COFFER_OK)
        return rc;
    if (cli->json) {
        out_json(reply);
        return COFFER_OK;
    }
    (void)printf("Stack %s is there: its databases are %s.\n", api_text(reply, "name"), api_text(reply, "cipher"));
    json_decref(reply);
    return COFFER_OK;
}

static int
run_list(struct cli *cli, struct coffer_error *err)
{
    static const char *const headings[] = {"NAME", "VERSION", "CIPHER", ">DATABASES", "CREATED"};
    json_t *list = NULL, *one;
    struct table *t;
    size_t i;
    int rc = api_call(cli, "GET", NULL, &list, err, "/stacks", NULL);

    if (rc != COFFER_OK)
        return rc;
    if (cli->json) {
        out_json(list);
        return COFFER_OK;
    }
    t = table_new(headings, 5);
    json_array_foreach(list, i, one) {
        char count[24], created[32];

        (void)snprintf(count, sizeof count, "%lld", (long long)json_integer_value(json_object_get(one, "databases")));
        api_time(one, "created", created);
        table_row(t, (const char *const[]){api_text(one, "name"), api_text(one, "version"), api_text(one, "cipher"), count, created});
    }
    table_print(t, stdout, cli->colour);
    table_free(t);
    json_decref(list);
    return COFFER_OK;
}

static const struct arg_option options_create[] = {
    {"version", "V", "v2: AES-256 (default); v1: a legacy stack, AES-192"}, {NULL, NULL, NULL}};
const struct command command_stack_create = {
    .name = "stack create",
    .synopsis = "NAME [--version v1|v2]",
    .summary = "make a stack to deploy databases on",
    .details = "  coffer --state ./dbs stack create legacy --version v1\n",
    .options = options_create,
    .words_min = 1,
    .words_max = 1,
    .run = run_create,
};
const struct command command_stack_list = {
    .name = "stack list", .synopsis = "", .summary = "the stacks of cofferd", .options = options_none, .run = run_list};
