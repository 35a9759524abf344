/* SPDX-License-Identifier: Apache-2.0 */
/* coffer rotate */
#include "cli/commands.h"
#include "cli/work.h"
#include "rotate/index.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS_MAX 16

/* Helpers are processes: each has its own connections, and one that dies takes nothing with it.  They wait until the
 * rotation has begun, which is theirs to find in the database. */
static size_t
helpers_start(struct cli *cli, const struct rotate_options *options, size_t count, pid_t *pids)
{
    size_t started = 0;

    for (; started < count; started++) {
        pid_t pid;

        (void)fflush(NULL);
        pid = fork();
        if (pid < 0)
            break;
        if (pid == 0) {
            struct coffer_error err = {0};
            struct events events;
            struct rotate_env env;
            size_t next = 0;
            int rc = events_env(cli, &events, &next, &env, &err);

            env.say = NULL;
            env.ask = NULL;
            while (rc == COFFER_OK && !cli_stop && getppid() != 1) {
                rc = rotate_worker(&env, options, &err);
                if (rc == COFFER_E_NOTFOUND || rc == COFFER_OK || rc == COFFER_E_CONFLICT || rc == COFFER_E_NOTYET) {
                    rc = COFFER_OK; /* not begun, or between two sweeps */
                    cli->os->sleep_ms(cli->os, 200);
                }
            }
            if (rc != COFFER_OK && rc != COFFER_E_CANCELLED)
                (void)fprintf(stderr, "coffer: helper: %s\n", err.message);
            _exit(rc == COFFER_OK ? 0 : 1);
        }
        pids[started] = pid;
    }
    return started;
}

static void
helpers_stop(const pid_t *pids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        (void)kill(pids[i], SIGTERM);
    for (size_t i = 0; i < count; i++)
        (void)waitpid(pids[i], NULL, 0);
}

static int
control_of(const struct args *args)
{
    return args_flag(args, "pause")    ? ROTATE_PAUSE
           : args_flag(args, "resume") ? ROTATE_RESUME
           : args_flag(args, "abort")  ? ROTATE_ABORT
                                       : 0;
}

static int
rotate_terms(const struct rotate_env *env, const char *const *columns, size_t count, const struct rotate_options *options, struct coffer_error *err)
{
    int rc = count > 0 ? COFFER_OK : error_set(err, COFFER_E_MISUSE, "whose terms?  coffer rotate --terms DBURL TABLE.COLUMN…");

    for (size_t i = 0; rc == COFFER_OK && i < count; i++)
        rc = rotate_index_key(env, columns[i], 0, options, err);
    return rc;
}

static int
run_rotate(struct cli *cli, struct coffer_error *err)
{
    const struct args *args = cli->args;
    const char *accepted[ARGS_MAX];
    struct rotate_options options = {0};
    struct decoder *decoder = NULL;
    pid_t helpers[WORKERS_MAX];
    struct events events;
    struct rotate_env env;
    double workers = 1;
    size_t next = 0, helper_count = 0;
    int control = control_of(args);
    int rc;

    if (args_flag(args, "pause") + args_flag(args, "resume") + args_flag(args, "abort") + args_flag(args, "worker") +
            args_flag(args, "plan") > 1)
        return error_set(err, COFFER_E_MISUSE, "give one of --plan, --pause, --resume, --abort and --worker");
    options.split = args_text(args, "split");
    options.open_only = control != 0;
    options.restored = args_flag(args, "restored");
    if (args_text(args, "decoder") != NULL && !options.restored)
        return error_set(err, COFFER_E_MISUSE, "--decoder goes with --restored: a rotation itself meets no old values");
    options.accept_unregistered = accepted;
    options.accept_unregistered_count = args_all(args, "accept-unregistered", accepted, ARGS_MAX);
    rc = work_options(cli, &options, err);
    if (rc == COFFER_OK && args_text(args, "workers") != NULL)
        rc = parse_number("workers", args_text(args, "workers"), 1, WORKERS_MAX, &workers, err);
    if (rc == COFFER_OK)
        rc = events_env(cli, &events, &next, &env, err);
    if (rc != COFFER_OK)
        return rc;
    if (control == ROTATE_PAUSE || control == ROTATE_ABORT) {
        rc = rotate_control(&env, control, err);
        if (rc != COFFER_OK || control == ROTATE_PAUSE)
            return work_end(cli, &events, &env, rc, "rotate");
    } else if (control == ROTATE_RESUME) {
        rc = rotate_control(&env, control, err);
    }
    if (rc == COFFER_OK && args_flag(args, "worker")) {
        rc = rotate_worker(&env, &options, err);
    } else if (rc == COFFER_OK) {
        if (workers > 1 && !options.plan_only && strncmp(env.url, "sqlite:", 7) != 0)
            helper_count = helpers_start(cli, &options, (size_t)workers - 1, helpers);
        else if (workers > 1 && !cli->json)
            (void)puts("note     SQLite has one writer at a time: one worker");
        if (args_text(args, "decoder") != NULL) {
            rc = decoder_start(args_text(args, "decoder"), &decoder, err);
            options.decode = decoder_decode;
            options.decode_arg = decoder;
        }
        if (rc == COFFER_OK && args_flag(args, "terms"))
            rc = rotate_terms(&env, args->words + next, args->word_count - next, &options, err);
        else if (rc == COFFER_OK)
            rc = rotate_run(&env, args->words + next, args->word_count - next, &options, err);
        decoder_stop(decoder);
        helpers_stop(helpers, helper_count);
    }
    return work_end(cli, &events, &env, rc, "rotate");
}

static const struct arg_option options_rotate[] = {
    {"terms", NULL, "the keys of these columns' search terms and sums, in place of those of their envelopes"},
    {"pause", NULL, "stop the open rotation where it is"},
    {"resume", NULL, "go on with a paused one"},
    {"abort", NULL, "move everything back (before the fence)"},
    {"worker", NULL, "help an open rotation until its drain is done"},
    {"workers", "N", "N workers from here (PostgreSQL)"},
    {"split", "NAME", "move just these columns to a new line"},
    {"restored", NULL, "you state that you restored this copy: other forms than the keyring says are brought forward"},
    {"decoder", "CMD", "with --restored: as protect had it"},
    {"accept-unregistered", "T.C", "envelopes found in this unprotected column are known; once for each"},
    {NULL, NULL, NULL}};
const struct command command_rotate = {
    .name = "rotate",
    .synopsis = "DBURL [COLUMN…] [--plan|--pause|--resume|--abort|--worker]",
    .summary = "change the key of protected columns, while in use",
    .details = "Makes a new key, waits until every client holds it, re-encrypts in the background, fences the\n"
               "old key in the database, proves that nothing is under it, and moves it to escrow for backups.\n"
               "May be stopped at any instant; the same command goes on.  Rotates whole lines.\n\n"
               "  coffer rotate sqlite:app.db\n"
               "  coffer rotate postgresql://db/app --workers 2 --window 22:00-06:00\n"
               "  coffer rotate postgresql://db/app --pause\n",
    .options = options_rotate,
    .more_options = options_work,
    .words_max = ARGS_MAX,
    .run = run_rotate,
};
