/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

#include <string.h>

#define HELP_WIDTH 79

static void
print_options(const struct arg_option *options, FILE *to)
{
    for (const struct arg_option *o = options; o->name != NULL; o++) {
        char left[64];
        const char *text = o->help;
        int column = 26;

        (void)snprintf(left, sizeof left, "  --%s%s%s", o->name, o->value != NULL ? " " : "",
                       o->value != NULL ? o->value : "");
        (void)fprintf(to, "%-*s", column, left);
        if ((int)strlen(left) >= column)
            (void)fprintf(to, "\n%*s", column, "");
        while (strlen(text) > (size_t)(79 - column)) { /* break at a space */
            int cut = 79 - column;

            while (cut > 0 && text[cut] != ' ')
                cut--;
            if (cut == 0)
                break;
            (void)fprintf(to, "%.*s\n%*s", cut, text, column, "");
            text += cut + 1;
        }
        (void)fprintf(to, "%s\n", text);
    }
}

/* Paragraphs, which are filled, and examples, indented, which stand as they are. */
static void
print_details(const char *text, FILE *to)
{
    char paragraph[2000] = "";

    while (*text != '\0') {
        size_t len = strcspn(text, "\n"), have = strlen(paragraph);
        bool plain = len > 0 && text[0] != ' ';

        if (plain && have + len + 2 < sizeof paragraph)
            (void)snprintf(paragraph + have, sizeof paragraph - have, "%s%.*s", have > 0 ? " " : "", (int)len, text);
        text += len + (text[len] == '\n');
        if (paragraph[0] != '\0' && (!plain || *text == '\0')) {
            print_wrapped(to, paragraph, 0, HELP_WIDTH);
            paragraph[0] = '\0';
        }
        if (!plain)
            (void)fprintf(to, "%.*s\n", (int)len, text - len - 1);
    }
}

void
help_command(const struct command *command, FILE *to)
{
    char usage[256];

    (void)snprintf(usage, sizeof usage, "coffer %s %s", command->name, command->synopsis);
    (void)fprintf(to, "coffer %s: %s\n\nUsage: ", command->name, command->summary);
    print_wrapped(to, usage, 7, HELP_WIDTH);
    if (command->details != NULL) {
        (void)fputc('\n', to);
        print_details(command->details, to);
    }
    if (command->options->name != NULL || command->more_options != NULL) {
        (void)fputs("\nOptions:\n", to);
        print_options(command->options, to);
        if (command->more_options != NULL)
            print_options(command->more_options, to);
    }
    (void)fputs("\nCommon options:\n", to);
    print_options(options_common, to);
}

void
help_overview(FILE *to)
{
    (void)fputs("coffer: encrypts columns of a database, and changes their keys while in use\n\n"
                "Usage: coffer COMMAND [OPTIONS] …\n\n",
                to);
    for (size_t i = 0; commands[i] != NULL; i++)
        (void)fprintf(to, "  %-21s %s\n", commands[i]->name, commands[i]->summary);
    (void)fputs("\nBegin with:\n"
                "  coffer keyring init --keyring k.coffer --kek file:kek.bin\n"
                "  coffer protect --keyring k.coffer --kek file:kek.bin sqlite:a.db people.ssn\n"
                "\nExit codes: 0 done, 1 failed, 2 usage, 3 refused by a safety rule, 4 not yet.\n"
                "`coffer COMMAND --help` says more; so does man coffer.\n",
                to);
}

static int
run_help(struct cli *cli, struct coffer_error *err)
{
    char name[64] = "";
    size_t shown = 0;

    if (cli->args->word_count == 0) {
        help_overview(stdout);
        return COFFER_OK;
    }
    for (size_t i = 0; i < cli->args->word_count; i++) {
        size_t len = strlen(name);

        (void)snprintf(name + len, sizeof name - len, "%s%s", i > 0 ? " " : "", cli->args->words[i]);
    }
    for (size_t i = 0; commands[i] != NULL; i++) {
        size_t len = strlen(name);

        if (strcmp(commands[i]->name, name) == 0) {
            help_command(commands[i], stdout);
            return COFFER_OK;
        }
        if (strncmp(commands[i]->name, name, len) == 0 && commands[i]->name[len] == ' ') {
            (void)printf("  coffer %s %s\n      %s\n", commands[i]->name, commands[i]->synopsis, commands[i]->summary);
            shown++;
        }
    }
    if (shown == 0)
        return error_set(err, COFFER_E_MISUSE, "there is no command %s; `coffer help` lists them", name);
    return COFFER_OK;
}

const struct command command_help = {
    .name = "help",
    .synopsis = "[COMMAND]",
    .summary = "what a command does, with examples",
    .options = options_none,
    .words_max = 2,
    .run = run_help,
};
