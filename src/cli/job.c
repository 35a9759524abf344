/* SPDX-License-Identifier: Apache-2.0 */
/* coffer job list|show|pause|resume|cancel */
#include "cli/api_client.h"
#include "cli/commands.h"

#include <stdlib.h>
#include <string.h>

static int
run_list(struct cli *cli, struct coffer_error *err)
{
    static const char *const headings[] = {">ID", "KIND", "DATABASE", "STATE", "STEP", "CREATED"};
    json_t *list = NULL, *one;
    struct table *t;
    size_t i;
    int rc = api_call(cli, "GET", NULL, &list, err, "/jobs", NULL);

    if (rc != COFFER_OK)
        return rc;
    if (cli->json) {
        out_json(list);
        return COFFER_OK;
    }
    t = table_new(headings, 6);
    json_array_foreach(list, i, one) {
        char id[24], created[32];

        (void)snprintf(id, sizeof id, "%lld", (long long)json_integer_value(json_object_get(one, "id")));
        api_time(one, "created", created);
        table_row(t, (const char *const[]){id, api_text(one, "kind"), api_text(one, "name"), api_text(one, "state"),
                                           api_text(one, "step"), created});
    }
    table_print(t, stdout, cli->colour);
    table_free(t);
    json_decref(list);
    return COFFER_OK;
}

static void
print_job(struct cli *cli, json_t *job)
{
    const json_t *messages = json_object_get(job, "messages");
    const json_t *error = json_object_get(job, "error");

    if (cli->json) {
        out_json(job);
        return;
    }
    (void)printf("Job %lld: %s %s, %s, step %s\n", (long long)json_integer_value(json_object_get(job, "id")), api_text(job, "kind"),
                 api_text(job, "name"), api_text(job, "state"), api_text(job, "step"));
    for (size_t i = 0; i < json_array_size(messages); i++)
        (void)printf("  %s  %s\n", api_text(json_array_get(messages, i), "at"), api_text(json_array_get(messages, i), "text"));
    if (json_is_object(error) || json_is_string(error))
        (void)printf("  %s\n", json_is_object(error) ? api_text(error, "message") : json_string_value(error));
    json_decref(job);
}

static int
run_show(struct cli *cli, struct coffer_error *err)
{
    json_t *job = NULL, *result = NULL;
    int rc = COFFER_OK;

    if (args_flag(cli->args, "follow")) {
        rc = api_follow(cli, strtoll(cli->args->words[0], NULL, 10), true, &result, err);
        if (rc == COFFER_OK && cli->json)
            out_json(json_incref(result));
        json_decref(result);
        if (rc != COFFER_OK || cli->json)
            return rc;
    }
    rc = api_call(cli, "GET", NULL, &job, err, "/jobs/%s", cli->args->words);
    if (rc == COFFER_OK)
        print_job(cli, job);
    return rc;
}

/* pause, resume, cancel: the last word of the command's own name. */
static int
run_change(struct cli *cli, struct coffer_error *err)
{
    char path[32];
    json_t *job = NULL;
    int rc;

    (void)snprintf(path, sizeof path, "/jobs/%%s/%s", strchr(cli->command->name, ' ') + 1);
    rc = api_call(cli, "POST", json_object(), &job, err, path, cli->args->words);
    if (rc == COFFER_OK)
        print_job(cli, job);
    return rc;
}

static const struct arg_option options_show[] = {{"follow", NULL, "until it ends"}, {NULL, NULL, NULL}};
const struct command command_job_list = {
    .name = "job list", .synopsis = "", .summary = "what cofferd does and did", .options = options_none, .run = run_list};
const struct command command_job_show = {.name = "job show", .synopsis = "ID [--follow]", .summary = "one job of cofferd",
    .details = "  coffer --state ./dbs job show 7 --follow\n", .options = options_show, .words_min = 1, .words_max = 1, .run = run_show};
#define CHANGE(verb, text)                                                                                             \
    {.name = "job " verb, .synopsis = "ID", .summary = text, .options = options_none, .words_min = 1, .words_max = 1, .run = run_change}
const struct command command_job_pause = CHANGE("pause", "let a job rest");
const struct command command_job_resume = CHANGE("resume", "go on with a job that rests or failed");
const struct command command_job_cancel = CHANGE("cancel", "give a job up and take back what it did");
