/* SPDX-License-Identifier: Apache-2.0 */
/* cofferd without its HTTP, for tests: serves a state folder, takes "ACTION JSON" lines, answers a line of JSON each.
 *
 * Its caller has every role; ":WHO ROLE ACTION JSON" asks as somebody else.  At the end of its input it closes, with `stop` cleanly.
 */
#include "deploy/deploy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
on_log(void *arg, const char *line)
{
    (void)arg;
    (void)fprintf(stderr, "log: %s\n", line);
}

static void
answer(struct deploy *deploy, char *line)
{
    struct deploy_caller caller = {ROLE_CUSTODIAN, "test"};
    struct coffer_error err = {0};
    json_t *request, *reply = NULL;
    char *text, *space;
    int rc;

    if (line[0] == ':') {
        int taken = 0, role = 0;

        if (sscanf(line, ":%40s %d %n", caller.who, &role, &taken) < 2)
            exit(2);
        caller.role = (enum deploy_role)role;
        line += taken;
    }
    space = strchr(line, ' ');
    if (space != NULL)
        *space = '\0';
    if (strcmp(line, "events") == 0) {
        rc = deploy_events(deploy, strtoull(space + 1, NULL, 10), 0, &reply, &err);
        request = NULL;
    } else {
        request = space == NULL ? NULL : json_loads(space + 1, JSON_DECODE_ANY, NULL);
        rc = deploy_do(deploy, &caller, line, request, &reply, &err);
    }
    if (rc != COFFER_OK)
        reply = json_pack("{s:{s:s,s:s}}", "error", "status", coffer_status_name(rc), "message",
                          err.message);
    text = json_dumps(reply, JSON_COMPACT | JSON_ENCODE_ANY);
    (void)puts(text);
    (void)fflush(stdout);
    free(text);
    json_decref(request);
    json_decref(reply);
}

int
main(int argc, char **argv)
{
    struct deploy_options options = {
        .program = argc > 2 ? argv[2] : NULL, .who = "test", .serve = true, .log = on_log};
    struct coffer_error err = {0};
    struct deploy *deploy;
    static char line[65536];
    bool stop = false;

    if (argc < 3)
        return 2;
    if (deploy_open(argv[1], &os_real, &options, &deploy, &err) != COFFER_OK) {
        (void)printf("{\"error\":{\"status\":\"%s\"}}\n%s\n", coffer_status_name(err.status),
                     err.message);
        return 1;
    }
    (void)puts("{\"open\":true}");
    (void)fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        stop = strcmp(line, "stop") == 0;
        if (stop)
            break;
        answer(deploy, line);
    }
    deploy_close(deploy, stop);
    return 0;
}
