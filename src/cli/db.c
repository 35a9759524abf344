/* SPDX-License-Identifier: Apache-2.0 */
/* coffer db create|list|show|url|start|stop|resize|logs|destroy|doctor|rotate|move */
#include "cli/api_client.h"
#include "cli/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "512M", "2G", or bytes. */
static int
put_size(const struct cli *cli, const char *name, json_t *body, struct coffer_error *err)
{
    const char *text = args_text(cli->args, name);
    unsigned long long n;
    unsigned shift = 0;
    char *end = NULL;

    if (text == NULL)
        return COFFER_OK;
    errno = 0;
    n = strtoull(text, &end, 10);
    if (*end != '\0' && strchr("KMGT", *end) != NULL && (end[1] == '\0' || strcmp(end + 1, "iB") == 0 || strcmp(end + 1, "B") == 0)) {
        shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 40;
        end = strchr(end, '\0');
    }
    if (end == text || *end != '\0' || errno != 0 || text[0] == '-' || n > (UINT64_C(1) << 60) >> shift)
        return error_set(err, COFFER_E_MISUSE, "--%s takes a size, like 512M or 2G", name);
    (void)json_object_set_new(body, name, json_integer((json_int_t)(n << shift)));
    return COFFER_OK;
}

static int
put_number(const struct cli *cli, const char *name, double max, json_t *body, struct coffer_error *err)
{
    const char *text = args_text(cli->args, name);
    double n = 0;
    int rc = text == NULL ? COFFER_OK : parse_number(name, text, 0, max, &n, err);

    if (rc == COFFER_OK && text != NULL)
        (void)json_object_set_new(body, name, json_integer((json_int_t)n));
    return rc;
}

static void
put_text(const struct cli *cli, const char *name, json_t *body)
{
    const char *text = args_text(cli->args, name);

    if (text != NULL)
        (void)json_object_set_new(body, name, json_string(text));
}

static void
print_database(struct cli *cli, json_t *d)
{
    static const char *const shown[] = {"engine", "version", "stack", "cipher", "key_id", "state", "url", "lower", "error"};

    if (cli->json) {
        out_json(d);
        return;
    }
    (void)printf("%s\n", api_text(d, "name"));
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        if (json_is_string(json_object_get(d, shown[i])))
            (void)printf("  %-8s %s\n", shown[i], api_text(d, shown[i]));
    }
    json_decref(d);
}

/* The newest of `name`, as `db show` gives it. */
static int
show(struct cli *cli, const char *name, struct coffer_error *err)
{
    json_t *d = NULL;
    int rc = api_call(cli, "GET", NULL, &d, err, "/databases/%s", (const char *const[]){name});

    if (rc == COFFER_OK)
        print_database(cli, d);
    return rc;
}

static int
run_create(struct cli *cli, struct coffer_error *err)
{
    json_t *body = json_pack("{s:s}", "name", cli->args->words[0]), *reply = NULL;
    int rc = body == NULL ? error_set(err, COFFER_E_MISUSE, "names are UTF-8") : COFFER_OK;

    put_text(cli, "engine", body);
    put_text(cli, "stack", body);
    put_text(cli, "listen", body);
    put_text(cli, "version", body);
    if (rc == COFFER_OK)
        rc = put_number(cli, "port", 65535, body, err);
    if (rc == COFFER_OK)
        rc = put_size(cli, "memory", body, err);
    if (rc == COFFER_OK)
        rc = put_size(cli, "limit", body, err);
    if (args_flag(cli->args, "archive"))
        (void)json_object_set_new(body, "archive", json_true());
    if (rc != COFFER_OK) {
        json_decref(body);
        return rc;
    }
    rc = api_run(cli, "POST", body, &reply, err, "/databases", NULL);
    json_decref(reply);
    return rc == COFFER_OK ? show(cli, cli->args->words[0], err) : rc;
}

static int
run_list(struct cli *cli, struct coffer_error *err)
{
    static const char *const headings[] = {"NAME", "ENGINE", "STACK", "CIPHER", "KEY", "STATE", ">SIZE", ">BACKUPS"};
    json_t *list = NULL, *one;
    struct table *t;
    size_t i;
    int rc = api_call(cli, "GET", NULL, &list, err, "/databases", NULL);

    if (rc != COFFER_OK)
        return rc;
    if (cli->json) {
        out_json(list);
        return COFFER_OK;
    }
    t = table_new(headings, 8);
    json_array_foreach(list, i, one) {
        char size[32], backups[24];

        api_size(one, "size", size);
        (void)snprintf(backups, sizeof backups, "%lld", (long long)json_integer_value(json_object_get(one, "backups")));
        table_row(t, (const char *const[]){api_text(one, "name"), api_text(one, "engine"), api_text(one, "stack"),
                                           api_text(one, "cipher"), api_text(one, "key_id"), api_text(one, "state"), size, backups});
    }
    table_print(t, stdout, cli->colour);
    table_free(t);
    json_decref(list);
    return COFFER_OK;
}

static int
run_show(struct cli *cli, struct coffer_error *err)
{
    return show(cli, cli->args->words[0], err);
}

static int
run_url(struct cli *cli, struct coffer_error *err)
{
    json_t *reply = NULL;
    int rc = api_call(cli, "GET", NULL, &reply, err, "/databases/%s/url", cli->args->words);

    if (rc == COFFER_OK && cli->json)
        out_json(json_incref(reply));
    else if (rc == COFFER_OK)
        (void)printf("%s\n", api_text(reply, "url"));
    json_decref(reply);
    return rc;
}

/* start, stop, resize */
static int
run_change(struct cli *cli, struct coffer_error *err)
{
    char path[40];
    json_t *body = json_object(), *reply = NULL;
    int rc;

    (void)snprintf(path, sizeof path, "/databases/%%s/%s", strchr(cli->command->name, ' ') + 1);
    rc = put_size(cli, "memory", body, err);
    if (rc == COFFER_OK)
        rc = put_size(cli, "limit", body, err);
    if (rc != COFFER_OK) {
        json_decref(body);
        return rc;
    }
    rc = api_run(cli, "POST", body, &reply, err, path, cli->args->words);
    json_decref(reply);
    return rc == COFFER_OK ? show(cli, cli->args->words[0], err) : rc;
}

static int
run_logs(struct cli *cli, struct coffer_error *err)
{
    const char *lines = args_text(cli->args, "lines");
    const json_t *list;
    json_t *reply = NULL;
    double n = 100;
    char path[64];
    int rc = lines == NULL ? COFFER_OK : parse_number("lines", lines, 1, 10000, &n, err);

    (void)snprintf(path, sizeof path, "/databases/%%s/logs?lines=%d", (int)n);
    if (rc == COFFER_OK)
        rc = api_call(cli, "GET", NULL, &reply, err, path, cli->args->words);
    list = json_object_get(reply, "lines");
    if (rc == COFFER_OK && cli->json)
        out_json(json_incref(reply));
    for (size_t i = 0; rc == COFFER_OK && !cli->json && i < json_array_size(list); i++)
        (void)printf("%s\n", json_string_value(json_array_get(list, i)));
    json_decref(reply);
    return rc;
}

static int
run_doctor(struct cli *cli, struct coffer_error *err)
{
    json_t *reply = NULL;
    const json_t *checks;
    int rc = api_run(cli, "POST", json_object(), &reply, err, "/databases/%s/doctor", cli->args->words);

    checks = json_object_get(reply, "checks");
    if (rc == COFFER_OK && cli->json)
        out_json(json_incref(reply));
    for (size_t i = 0; rc == COFFER_OK && i < json_array_size(checks); i++) {
        const json_t *c = json_array_get(checks, i);
        const char *state = api_text(c, "state");

        if (strcmp(state, "bad") == 0 || strcmp(state, "failed") == 0)
            cli->exit_code = 1;
        if (!cli->json)
            (void)printf("%-7s %-20s %s\n", state, api_text(c, "name"), api_text(c, "text"));
    }
    json_decref(reply);
    return rc;
}

/* The name, typed once more: what is destroyed does not come back. */
static int
run_destroy(struct cli *cli, struct coffer_error *err)
{
    const char *name = cli->args->words[0], *typed = args_text(cli->args, "yes-destroy");
    char line[300] = "";
    json_t *reply = NULL;
    int rc;

    if (typed == NULL && isatty(STDIN_FILENO)) {
        (void)fprintf(stderr, "Database %s and its volume key will be destroyed. Type its name: ", name);
        if (fgets(line, sizeof line, stdin) != NULL)
            line[strcspn(line, "\n")] = '\0';
        typed = line;
    }
    if (typed == NULL || strcmp(typed, name) != 0)
        return error_set(err, COFFER_E_REFUSED, "%s is not destroyed: give its name once more, --yes-destroy %s", name, name);
    rc = api_run(cli, "DELETE", json_pack("{s:s}", "confirm", typed), &reply, err, "/databases/%s", cli->args->words);
    if (rc == COFFER_OK && cli->json)
        out_json(json_is_object(reply) ? json_incref(reply) : json_pack("{s:s}", "destroyed", name));
    else if (rc == COFFER_OK)
        (void)printf("Database %s is destroyed.\n", name);
    json_decref(reply);
    return rc;
}

/* rotate, move: jobs whose progress is worth lines of JSON, too. */
static int
run_rotate(struct cli *cli, struct coffer_error *err)
{
    bool move = strcmp(cli->command->name, "db move") == 0;
    const char *method = args_text(cli->args, "method");
    json_t *body = json_object(), *begun = NULL, *result = NULL;
    int rc = put_size(cli, "rate", body, err);

    if (!move) /* which is always online */
        put_text(cli, "method", body);
    put_text(cli, move ? "stack" : "kind", body);
    if (rc == COFFER_OK && !args_flag(cli->args, "yes") &&
        !prompt_yes(method != NULL && strcmp(method, "online") != 0 ? "The database stops for a while during this rotation. Go on?"
                                                                    : "Rotate the disk key, with the database running?"))
        rc = error_set(err, COFFER_E_REFUSED, "nothing was done; --yes answers the question");
    if (rc != COFFER_OK) {
        json_decref(body);
        return rc;
    }
    rc = api_call(cli, "POST", body, &begun, err, move ? "/databases/%s/move" : "/databases/%s/rotate", cli->args->words);
    if (rc == COFFER_OK)
        rc = api_follow(cli, json_integer_value(json_object_get(begun, "job")), true, &result, err);
    if (rc == COFFER_OK && cli->json)
        out_json(json_incref(result));
    else if (rc == COFFER_OK)
        (void)printf("%s: from key %s to key %s, %s, down for %lld ms.\nCertificate %s\n", cli->args->words[0],
                     api_text(result, "old_key_id"), api_text(result, "new_key_id"), api_text(result, "method"),
                     (long long)json_integer_value(json_object_get(result, "downtime_ms")), api_text(result, "certificate"));
    json_decref(begun);
    json_decref(result);
    return rc;
}

static const struct arg_option options_create[] = {
    {"engine", "ENGINE", "postgresql, mariadb, redis or sqlite"},
    {"stack", "NAME", "where it is deployed (main)"},
    {"version", "N", "the engine's major version (the newest that is installed)"},
    {"listen", "ADDRESS", "where its port listens (127.0.0.1)"},
    {"port", "PORT", "its port (a free one)"},
    {"memory", "SIZE", "how much memory it may use"},
    {"limit", "SIZE", "how large it may grow"},
    {"archive", NULL, "keep its log for a restore to any moment"},
    {NULL, NULL, NULL}};
static const struct arg_option options_resize[] = {
    {"memory", "SIZE", "how much memory it may use"}, {"limit", "SIZE", "how large it may grow"}, {NULL, NULL, NULL}};
static const struct arg_option options_logs[] = {{"lines", "N", "the last N (100)"}, {NULL, NULL, NULL}};
static const struct arg_option options_destroy[] = {{"yes-destroy", "NAME", "its name once more, in place of the question"},
                                                    {NULL, NULL, NULL}};
static const struct arg_option options_rotate[] = {
    {"method", "METHOD", "online (default), dump-restore or replicate"},
    {"kind", "KIND", "reencrypt (default): all data; rewrap: the wrapping of file keys only"},
    {"rate", "SIZE", "at most so many bytes a second"},
    {NULL, NULL, NULL}};
static const struct arg_option options_move[] = {
    {"stack", "NAME", "where to"}, {"rate", "SIZE", "at most so many bytes a second"}, {NULL, NULL, NULL}};

const struct command command_db_create = {
    .name = "db create",
    .synopsis = "NAME --engine ENGINE [--stack S]",
    .summary = "make an encrypted database and its server",
    .details = "  coffer --state ./dbs db create clinic --engine postgresql\n  psql \"$(coffer --state ./dbs db url clinic)\"\n",
    .options = options_create,
    .words_min = 1,
    .words_max = 1,
    .run = run_create,
};
const struct command command_db_list = {
    .name = "db list", .synopsis = "", .summary = "the databases of cofferd", .options = options_none, .run = run_list};
#define ONE(verb, rest, text, table, function)                                                                                \
    {.name = "db " verb, .synopsis = "NAME" rest, .summary = text, .options = table, .words_min = 1, .words_max = 1, .run = function}
const struct command command_db_show = ONE("show", "", "one database", options_none, run_show);
const struct command command_db_url = ONE("url", "", "its URL, with the password", options_none, run_url);
const struct command command_db_start = ONE("start", "", "start a database", options_none, run_change);
const struct command command_db_stop = ONE("stop", "", "stop a database", options_none, run_change);
const struct command command_db_resize =
    ONE("resize", " [--memory SIZE] [--limit SIZE]", "change its memory or limit", options_resize, run_change);
const struct command command_db_logs = ONE("logs", " [--lines N]", "the end of its log", options_logs, run_logs);
const struct command command_db_doctor = ONE("doctor", "", "check that its mount is safe", options_none, run_doctor);
const struct command command_db_destroy =
    ONE("destroy", " [--yes-destroy NAME]", "destroy a database and its key", options_destroy, run_destroy);
const struct command command_db_rotate = {
    .name = "db rotate",
    .synopsis = "NAME [--method online|dump-restore|replicate]",
    .summary = "rotate the disk key of a database",
    .details = "online rewrites the volume while the database runs; dump-restore and replicate build a new one beside it, "
               "and switch. Ctrl-C leaves the job to cofferd.\n\n"
               "  coffer --state ./dbs db rotate clinic --yes\n",
    .options = options_rotate,
    .words_min = 1,
    .words_max = 1,
    .run = run_rotate,
};
const struct command command_db_move = ONE("move", " --stack S", "move it to another stack and its cipher", options_move, run_rotate);
