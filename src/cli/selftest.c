/* SPDX-License-Identifier: Apache-2.0 */
/* coffer selftest: the known answers built in, or those of a file. */
#include "cli/commands.h"
#include "cli/selftest_data.h"
#include "cli/vectors.h"

static void
say_failure(void *arg, const char *line)
{
    (void)arg;
    (void)fprintf(stderr, "%s\n", line);
}

static int
run_selftest(struct cli *cli, struct coffer_error *err)
{
    const char *path = args_text(cli->args, "vectors");
    unsigned passed = 0, failed = 0;
    struct buf file;
    int rc;

    buf_init(&file, 64u << 20);
    if (path != NULL) {
        rc = cli->os->read_file(cli->os, path, 64u << 20, &file, err);
        if (rc == COFFER_OK) {
            rc = vectors_run(buf_view(&file), &passed, &failed, say_failure, NULL, err);
            if (rc != COFFER_OK)
                (void)error_prefix(err, "%s: ", path);
        }
    } else {
        rc = vectors_run(selftest_vectors(), &passed, &failed, say_failure, NULL, err);
    }
    buf_wipe(&file);
    if (rc != COFFER_OK)
        return rc;
    if (cli->json)
        out_json(json_pack("{s:i,s:i}", "passed", (int)passed, "failed", (int)failed));
    else
        (void)printf("%u passed, %u failed\n", passed, failed);
    cli->exit_code = failed > 0 || passed == 0 ? 1 : 0;
    return COFFER_OK;
}

static const struct arg_option options_selftest[] = {
    {"vectors", "FILE", "cases in the format of field-vectors.json or search-vectors.json"}, {NULL, NULL, NULL}};
const struct command command_selftest = {
    .name = "selftest",
    .synopsis = "[--vectors FILE]",
    .summary = "run the known answers",
    .details = "  coffer selftest\n  coffer selftest --vectors field-vectors.json\n",
    .options = options_selftest,
    .run = run_selftest,
};
