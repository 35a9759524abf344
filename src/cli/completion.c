/* SPDX-License-Identifier: Apache-2.0 */
/* coffer completion bash|zsh|fish: made from the command tables, so that they cannot disagree. */
#include "cli/commands.h"

#include <string.h>

static bool
first_of_family(size_t i)
{
    size_t len = strcspn(commands[i]->name, " ");

    return i == 0 || strncmp(commands[i - 1]->name, commands[i]->name, len) != 0 ||
           strcspn(commands[i - 1]->name, " ") != len;
}

static void
print_families(void)
{
    for (size_t i = 0; commands[i] != NULL; i++) {
        if (first_of_family(i))
            (void)printf("%s%.*s", i > 0 ? " " : "", (int)strcspn(commands[i]->name, " "), commands[i]->name);
    }
}

static void
print_option_words(const struct arg_option *options)
{
    for (const struct arg_option *o = options; o != NULL && o->name != NULL; o++)
        (void)printf(" --%s", o->name);
}

/* bash; zsh runs the same through bashcompinit. */
static void
print_bash(void)
{
    (void)fputs("_coffer() {\n    local cur=${COMP_WORDS[COMP_CWORD]} words=\"\" i cmd=\"\" sub=\"\"\n"
                "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                "        case ${COMP_WORDS[i]} in\n        -*) ;;\n"
                "        *) if [ -z \"$cmd\" ]; then cmd=${COMP_WORDS[i]}; elif [ -z \"$sub\" ]; then sub=${COMP_WORDS[i]}; fi ;;\n"
                "        esac\n    done\n    case \"$cmd $sub\" in\n    ' ') words=\"",
                stdout);
    print_families();
    (void)fputs("\" ;;\n", stdout);
    for (size_t i = 0; commands[i] != NULL; i++) {
        const char *space = strchr(commands[i]->name, ' ');

        (void)printf("    '%s%s'*) words=\"", commands[i]->name, space != NULL ? "" : " ");
        print_option_words(options_common);
        print_option_words(commands[i]->options);
        print_option_words(commands[i]->more_options);
        (void)fputs("\" ;;\n", stdout);
    }
    for (size_t i = 0; commands[i] != NULL; i++) {
        size_t len = strcspn(commands[i]->name, " ");

        if (commands[i]->name[len] == '\0' || !first_of_family(i))
            continue;
        (void)printf("    '%.*s '*) words=\"", (int)len, commands[i]->name);
        for (size_t j = i; commands[j] != NULL && strncmp(commands[j]->name, commands[i]->name, len + 1) == 0; j++)
            (void)printf("%s%s", j > i ? " " : "", commands[j]->name + len + 1);
        (void)fputs("\" ;;\n", stdout);
    }
    (void)fputs("    esac\n    case $cur in\n    -*) ;;\n    *) [ -n \"$cmd\" ] && case $words in *' --'*) words=\"\" ;; esac ;;\n    esac\n"
                "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                "    [ ${#COMPREPLY[@]} -eq 0 ] && COMPREPLY=($(compgen -f -- \"$cur\"))\n}\n"
                "complete -o filenames -F _coffer coffer\n",
                stdout);
}

static void
fish_text(const char *text)
{
    (void)fputc('\'', stdout);
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\')
            (void)fputc('\\', stdout);
        (void)fputc(*text, stdout);
    }
    (void)fputc('\'', stdout);
}

static void
print_fish(void)
{
    for (size_t i = 0; commands[i] != NULL; i++) {
        const char *name = commands[i]->name;
        size_t len = strcspn(name, " ");

        if (first_of_family(i))
            (void)printf("complete -c coffer -n __fish_use_subcommand -a %.*s\n", (int)len, name);
        if (name[len] == ' ') {
            (void)printf("complete -c coffer -n '__fish_seen_subcommand_from %.*s' -f -a %s -d ", (int)len, name,
                         name + len + 1);
            fish_text(commands[i]->summary);
            (void)fputc('\n', stdout);
        }
        for (int more = 0; more < 2; more++) {
            const struct arg_option *o = more ? commands[i]->more_options : commands[i]->options;

            for (; o != NULL && o->name != NULL; o++) {
                (void)printf("complete -c coffer -n '__fish_seen_subcommand_from %.*s' -l %s %s-d ", (int)len, name,
                             o->name, o->value != NULL ? "-r " : "");
                fish_text(o->help);
                (void)fputc('\n', stdout);
            }
        }
    }
    for (const struct arg_option *o = options_common; o->name != NULL; o++) {
        (void)printf("complete -c coffer -l %s %s-d ", o->name, o->value != NULL ? "-r " : "");
        fish_text(o->help);
        (void)fputc('\n', stdout);
    }
}

static int
run_completion(struct cli *cli, struct coffer_error *err)
{
    const char *shell = cli->args->words[0];

    if (strcmp(shell, "bash") == 0) {
        print_bash();
    } else if (strcmp(shell, "zsh") == 0) {
        (void)fputs("#compdef coffer\nautoload -Uz bashcompinit && bashcompinit\n", stdout);
        print_bash();
    } else if (strcmp(shell, "fish") == 0) {
        print_fish();
    } else {
        return error_set(err, COFFER_E_MISUSE, "no completion for %s; there are bash, zsh and fish", shell);
    }
    return COFFER_OK;
}

const struct command command_completion = {
    .name = "completion",
    .synopsis = "bash|zsh|fish",
    .summary = "a completion script for your shell",
    .details = "  source <(coffer completion bash)\n  coffer completion fish > ~/.config/fish/completions/coffer.fish\n",
    .options = options_none,
    .words_min = 1,
    .words_max = 1,
    .run = run_completion,
};
