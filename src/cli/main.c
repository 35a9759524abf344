/* SPDX-License-Identifier: Apache-2.0 */
/* coffer: find the command, parse its options, run it, turn its status into an exit code. */
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/mount_helper.h"

#include <locale.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void
find_who(char out[KEYRING_NAME_MAX])
{
    char host[64] = "localhost";
    const struct passwd *user = getpwuid(getuid());

    (void)gethostname(host, sizeof host - 1);
    if (user != NULL)
        (void)snprintf(out, KEYRING_NAME_MAX, "%s@%s", user->pw_name, host);
    else
        (void)snprintf(out, KEYRING_NAME_MAX, "%u@%s", (unsigned)getuid(), host);
}

/* The longest command name that the first words make. */
static const struct command *
find_command(const char *const *words, size_t count, size_t *used)
{
    for (*used = count < 2 ? count : 2; *used > 0; (*used)--) {
        char name[64];

        (void)snprintf(name, sizeof name, "%s%s%s", words[0], *used == 2 ? " " : "",
                       *used == 2 ? words[1] : "");
        for (size_t i = 0; commands[i] != NULL; i++) {
            if (strcmp(commands[i]->name, name) == 0)
                return commands[i];
        }
    }
    return NULL;
}

static int
unknown_command(const char *const *words, size_t count, struct coffer_error *err)
{
    const char *near = NULL;
    size_t best = 4, len = strlen(words[0]);

    for (size_t i = 0; commands[i] != NULL; i++) {
        const char *name = commands[i]->name;
        char first[64];
        size_t d;

        if (strncmp(name, words[0], len) == 0 && name[len] == ' ') /* a family without its verb */
            return error_set(err, COFFER_E_MISUSE, "%s: which of its commands?  See `coffer help %s`%s%s", words[0],
                             words[0], count > 1 ? "; it has no " : "", count > 1 ? words[1] : "");
        (void)snprintf(first, sizeof first, "%.*s", (int)strcspn(name, " "), name);
        d = word_distance(first, words[0]);
        if (d < best) {
            best = d;
            near = commands[i]->name;
        }
    }
    if (near != NULL)
        return error_set(err, COFFER_E_MISUSE, "unknown command %s; did you mean %.*s?", words[0],
                         (int)strcspn(near, " "), near);
    return error_set(err, COFFER_E_MISUSE, "unknown command %s; `coffer help` lists them", words[0]);
}

static int
run(struct cli *cli, struct args *args, int argc, const char *const *argv, struct coffer_error *err)
{
    const struct arg_option **all;
    const struct arg_option *own[4] = {options_common}; /* before a command is known */
    const char *words[2] = {NULL, NULL};
    size_t n = 0, count, used;
    int rc;

    while (commands[n] != NULL)
        n++;
    all = mem_array(2 * n + 2, sizeof *all);
    if (all == NULL)
        return error_nomem(err);
    n = 0;
    all[n++] = options_common;
    for (size_t i = 0; commands[i] != NULL; i++) {
        all[n++] = commands[i]->options;
        if (commands[i]->more_options != NULL)
            all[n++] = commands[i]->more_options;
    }
    count = args_words(argc, argv, all, words, 2);
    mem_free(all);
    if (count == 0) {
        rc = args_parse(argc, argv, 0, own, args, err);
        if (rc != COFFER_OK)
            return rc;
        if (args_flag(args, "version")) {
            (void)printf("coffer %s\n", coffer_version());
            return COFFER_OK;
        }
        help_overview(args_flag(args, "help") ? stdout : stderr);
        cli->exit_code = args_flag(args, "help") ? 0 : 2;
        return COFFER_OK;
    }
    cli->command = find_command(words, count, &used);
    if (cli->command == NULL)
        return unknown_command(words, count, err);
    /* The command's own come first: --version N of `db create` is not ours. */
    own[0] = cli->command->options;
    own[1] = cli->command->more_options != NULL ? cli->command->more_options : options_common;
    own[2] = cli->command->more_options != NULL ? options_common : NULL;
    rc = args_parse(argc, argv, used, own, args, err);
    if (rc != COFFER_OK)
        return rc;
    cli->json = args_flag(args, "json");
    if (args_flag(args, "help")) {
        help_command(cli->command, stdout);
        return COFFER_OK;
    }
    if (args_flag(args, "version") && args_text(args, "version") == NULL) {
        (void)printf("coffer %s\n", coffer_version());
        return COFFER_OK;
    }
    if (args->word_count < cli->command->words_min || args->word_count > cli->command->words_max)
        return error_set(err, COFFER_E_MISUSE, "usage: coffer %s %s", cli->command->name, cli->command->synopsis);
    return cli->command->run(cli, err);
}

/* mount(8)'s exit codes: 1 for what was called wrongly, 32 for a mount that failed. */
static int
run_mount_helper(struct cli *cli, struct args *args, int argc, const char *const *argv)
{
    static struct mount_words words;
    struct coffer_error err = {0};
    int rc = mount_helper_words(argc, argv, &words, &err);

    if (rc == COFFER_OK && words.fake)
        return 0;
    cli->quiet = true;
    if (rc == COFFER_OK)
        rc = run(cli, args, words.argc, words.argv, &err);
    if (rc == COFFER_OK)
        return cli->exit_code == 0 ? 0 : 32;
    out_error(cli, &err);
    return rc == COFFER_E_MISUSE ? 1 : 32;
}

int
main(int argc, char **argv)
{
    static struct args args;
    struct cli cli = {.args = &args, .os = &os_real};
    struct coffer_error err = {0};
    const char *no_colour = getenv("NO_COLOR");
    int rc;

    (void)setlocale(LC_CTYPE, "");
    (void)prctl(PR_SET_DUMPABLE, 0); /* keys pass through here */
    cli.colour = isatty(STDOUT_FILENO) && (no_colour == NULL || *no_colour == '\0');
    find_who(cli.who);
    if (mount_helper_name(argv[0]))
        return run_mount_helper(&cli, &args, argc, (const char *const *)argv);
    for (int i = 1; i < argc; i++) /* known before parsing, so that a mistake in an option is told in JSON too */
        cli.json = cli.json || strcmp(argv[i], "--json") == 0;
    rc = run(&cli, &args, argc, (const char *const *)argv, &err);
    if (rc != COFFER_OK)
        out_error(&cli, &err);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)fputs("coffer: the output could not be written\n", stderr);
        return 1;
    }
    return rc != COFFER_OK ? exit_code_of(rc) : cli.exit_code;
}
