/* SPDX-License-Identifier: Apache-2.0 */
/* coffer stop, coffer signin */
#include "cli/api_client.h"
#include "cli/commands.h"

#include <string.h>

#define STOP_WAIT_MS (10 * 60 * 1000)

/* Gone, or dead and not yet collected by its parent. */
static bool
gone(json_int_t pid)
{
    char path[64], line[512] = "";
    const char *after;
    FILE *f;

    (void)snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    f = fopen(path, "re");
    if (f == NULL)
        return true;
    after = fgets(line, sizeof line, f) == NULL ? NULL : strrchr(line, ')');
    (void)fclose(f);
    return after == NULL || after[1] == '\0' || after[2] == 'Z' || after[2] == 'X';
}

static int
run_stop(struct cli *cli, struct coffer_error *err)
{
    bool keep = args_flag(cli->args, "keep-databases");
    int64_t until = cli->os->monotonic_ms(cli->os) + STOP_WAIT_MS;
    json_t *reply = NULL;
    json_int_t pid;
    int rc = api_call(cli, "POST", json_pack("{s:b}", "keep_databases", keep), &reply, err, "/stop", NULL);

    if (rc != COFFER_OK)
        return rc;
    pid = json_integer_value(json_object_get(reply, "pid"));
    json_decref(reply);
    cli_catch_signals();
    while (!gone(pid)) {
        if (cli_stop || cli->os->monotonic_ms(cli->os) > until)
            return error_set(err, COFFER_E_CANCELLED, "cofferd (process %lld) is still stopping", (long long)pid);
        cli->os->sleep_ms(cli->os, 50);
    }
    if (cli->json)
        out_json(json_pack("{s:b,s:b}", "stopped", 1, "databases_stopped", !keep));
    else
        (void)printf(keep ? "cofferd has stopped; its databases run on.\n"
                          : "The databases and cofferd have stopped; `coffer serve` brings back what ran.\n");
    return COFFER_OK;
}

static int
run_signin(struct cli *cli, struct coffer_error *err)
{
    const char *role = args_text(cli->args, "role"), *given = args_text(cli->args, "who");
    char who[KEYRING_NAME_MAX];
    json_t *reply = NULL;
    int rc;

    (void)snprintf(who, sizeof who, "%.*s", given != NULL ? (int)sizeof who - 1 : (int)strcspn(cli->who, "@"),
                   given != NULL ? given : cli->who);
    rc = api_call(cli, "POST", json_pack("{s:s,s:s}", "who", who, "role", role != NULL ? role : "custodian"), &reply, err,
                  "/signin", NULL);
    if (rc != COFFER_OK)
        return rc;
    if (cli->json) {
        out_json(reply);
        return COFFER_OK;
    }
    (void)printf("%s\n", api_text(reply, "link"));
    json_decref(reply);
    return COFFER_OK;
}

static const struct arg_option options_stop[] = {
    {"keep-databases", NULL, "the databases run on; the next cofferd finds them"}, {NULL, NULL, NULL}};
const struct command command_stop = {
    .name = "stop",
    .synopsis = "[--keep-databases]",
    .summary = "stop cofferd and its databases",
    .details = "Servers first, then their volumes. What ran comes back at the next start.\n\n  coffer --state ./dbs stop\n",
    .options = options_stop,
    .run = run_stop,
};

static const struct arg_option options_signin[] = {
    {"role", "ROLE", "viewer, operator or custodian (custodian)"},
    {"who", "NAME", "for whom (you); it stands in the audit log"},
    {NULL, NULL, NULL}};
const struct command command_signin = {
    .name = "signin",
    .synopsis = "[--role viewer|operator|custodian] [--who NAME]",
    .summary = "a link that signs in to the dashboard once",
    .details = "The link is good for ten minutes and for one sign-in. A key is destroyed only when two different custodians agree.\n\n"
               "  coffer --state ./dbs signin\n  coffer --state ./dbs signin --role viewer --who ann\n",
    .options = options_signin,
    .run = run_signin,
};
