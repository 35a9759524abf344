/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/args.h"

#include <string.h>

static const struct arg_option *
option_find(const struct arg_option *const *tables, const char *name, size_t len)
{
    for (; *tables != NULL; tables++) {
        for (const struct arg_option *o = *tables; o->name != NULL; o++) {
            if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
                return o;
        }
    }
    return NULL;
}

size_t
word_distance(const char *a, const char *b)
{
    size_t row[64];
    size_t bn = strlen(b);

    if (strlen(a) >= 64 || bn >= 64)
        return 64;
    for (size_t j = 0; j <= bn; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= bn; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[bn];
}

static const char *
option_nearest(const struct arg_option *const *tables, const char *name)
{
    const char *nearest = NULL;
    size_t best = 3; /* further away is no typing mistake */

    for (; *tables != NULL; tables++) {
        for (const struct arg_option *o = *tables; o->name != NULL; o++) {
            size_t d = word_distance(o->name, name);

            if (d < best) {
                best = d;
                nearest = o->name;
            }
        }
    }
    return nearest;
}

static bool
is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0';
}

size_t
args_words(int argc, const char *const *argv, const struct arg_option *const *tables, const char **words, size_t max)
{
    size_t count = 0;
    bool options = true;

    for (int i = 1; i < argc && count < max; i++) {
        const char *word = argv[i];

        if (options && strcmp(word, "--") == 0) {
            options = false;
        } else if (options && is_option(word)) {
            size_t len = strncmp(word, "--", 2) == 0 ? strcspn(word + 2, "=") : 0;
            const struct arg_option *o = len == 0 ? NULL : option_find(tables, word + 2, len);

            if (o != NULL && o->value != NULL && word[2 + len] == '\0')
                i++;
        } else {
            words[count++] = word;
        }
    }
    return count;
}

/* `*i` stands on an option; moves it onto the option's value if that is a word of its own. */
static int
take_option(int argc, const char *const *argv, int *i, const struct arg_option *const *tables, struct args *out,
            struct coffer_error *err)
{
    const char *word = argv[*i];
    const char *name = strcmp(word, "-h") == 0 ? "help" : word + 2;
    const struct arg_option *option;
    const char *value = NULL;
    size_t len;

    if (word[1] != '-' && strcmp(word, "-h") != 0)
        return error_set(err, COFFER_E_MISUSE, "unknown option %s (options begin with two dashes)", word);
    len = strcspn(name, "=");
    option = option_find(tables, name, len);
    if (option == NULL) {
        char cut[64];
        const char *near;

        memcpy(cut, name, len < sizeof cut ? len : sizeof cut - 1);
        cut[len < sizeof cut ? len : sizeof cut - 1] = '\0';
        near = option_nearest(tables, cut);
        if (near != NULL)
            return error_set(err, COFFER_E_MISUSE, "unknown option --%s; did you mean --%s?", cut, near);
        return error_set(err, COFFER_E_MISUSE, "unknown option --%s", cut);
    }
    if (name[len] == '=')
        value = name + len + 1;
    if (option->value == NULL && value != NULL)
        return error_set(err, COFFER_E_MISUSE, "option --%s takes no value", option->name);
    if (option->value != NULL && value == NULL) {
        if (*i + 1 >= argc)
            return error_set(err, COFFER_E_MISUSE, "option --%s needs a value: --%s %s", option->name,
                             option->name, option->value);
        value = argv[++*i];
    }
    if (out->given_count == ARGS_MAX)
        return error_set(err, COFFER_E_MISUSE, "more than %d options", ARGS_MAX);
    out->given[out->given_count].option = option;
    out->given[out->given_count++].value = value;
    return COFFER_OK;
}

int
args_parse(int argc, const char *const *argv, size_t skip, const struct arg_option *const *tables, struct args *out,
           struct coffer_error *err)
{
    bool options = true;

    *out = (struct args){0};
    for (int i = 1; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && is_option(argv[i])) {
            int rc = take_option(argc, argv, &i, tables, out, err);

            if (rc != COFFER_OK)
                return rc;
        } else if (skip > 0) {
            skip--;
        } else if (out->word_count == ARGS_MAX) {
            return error_set(err, COFFER_E_MISUSE, "more than %d words", ARGS_MAX);
        } else {
            out->words[out->word_count++] = argv[i];
        }
    }
    return COFFER_OK;
}

const char *
args_text(const struct args *args, const char *name)
{
    for (size_t i = args->given_count; i-- > 0;) {
        if (strcmp(args->given[i].option->name, name) == 0)
            return args->given[i].value;
    }
    return NULL;
}

bool
args_flag(const struct args *args, const char *name)
{
    for (size_t i = 0; i < args->given_count; i++) {
        if (strcmp(args->given[i].option->name, name) == 0)
            return true;
    }
    return false;
}

size_t
args_all(const struct args *args, const char *name, const char **values, size_t max)
{
    size_t count = 0;

    for (size_t i = 0; i < args->given_count && count < max; i++) {
        if (strcmp(args->given[i].option->name, name) == 0)
            values[count++] = args->given[i].value;
    }
    return count;
}
