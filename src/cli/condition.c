/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/condition.h"

#include "base/mem.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { DEPTH_MAX = 100, WORD_MAX = 4096 };

struct parser {
    const char *text, *at;
    struct coffer_error *err;
    unsigned depth;
};

static int
stop(struct parser *p, const char *wanted)
{
    return error_set(p->err, COFFER_E_MISUSE, "--where: %s is wanted at '%.40s' (character %zu)", wanted, *p->at != '\0' ? p->at : "the end",
                     (size_t)(p->at - p->text) + 1);
}

static void
blanks(struct parser *p)
{
    while (isspace((unsigned char)*p->at))
        p->at++;
}

static bool
word_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* The keyword, in either case, as a whole word. */
static bool
keyword(struct parser *p, const char *word)
{
    size_t len = strlen(word);

    blanks(p);
    if (strncasecmp(p->at, word, len) != 0 || word_char(p->at[len]))
        return false;
    p->at += len;
    return true;
}

static bool
sign(struct parser *p, const char *text)
{
    blanks(p);
    if (strncmp(p->at, text, strlen(text)) != 0)
        return false;
    p->at += strlen(text);
    return true;
}

static int
quoted(struct parser *p, char quote, char **out)
{
    char room[WORD_MAX];
    size_t n = 0;

    for (p->at++;; p->at++) {
        if (*p->at == '\0')
            return stop(p, "the closing quote");
        if (*p->at == quote && *++p->at != quote)
            break; /* two of them are one */
        if (n + 1 == sizeof room)
            return error_set(p->err, COFFER_E_LIMIT, "--where: a text of more than %d bytes", WORD_MAX - 1);
        room[n++] = *p->at;
    }
    room[n] = '\0';
    *out = mem_strdup(room);
    return *out == NULL ? error_nomem(p->err) : COFFER_OK;
}

static int
bare(struct parser *p, bool value, char **out)
{
    char room[WORD_MAX];
    size_t n = 0;

    while ((word_char(*p->at) || (value && *p->at != '\0' && strchr("+-.:", *p->at) != NULL)) && n + 1 < sizeof room)
        room[n++] = *p->at++;
    room[n] = '\0';
    if (n == 0)
        return stop(p, value ? "a value" : "the name of a column");
    *out = mem_strdup(room);
    return *out == NULL ? error_nomem(p->err) : COFFER_OK;
}

static int
value(struct parser *p, struct node *node)
{
    char **more;
    int rc;

    if (node->value_count == CONDITION_VALUES_MAX)
        return error_set(p->err, COFFER_E_LIMIT, "--where: at most %d values of one test", CONDITION_VALUES_MAX);
    more = mem_grow(node->values, (node->value_count + 1) * sizeof *more);
    if (more == NULL)
        return error_nomem(p->err);
    node->values = more;
    blanks(p);
    rc = *p->at == '\'' ? quoted(p, '\'', &more[node->value_count]) : bare(p, true, &more[node->value_count]);
    if (rc == COFFER_OK)
        node->value_count++;
    return rc;
}

static struct node *
negated(struct node *node)
{
    struct node *not = mem_alloc(sizeof *not);

    if (not == NULL) {
        condition_free(node);
        return NULL;
    }
    not->kind = NODE_NOT;
    not->left = node;
    return not;
}

static int
comparison(struct parser *p, struct node *node)
{
    static const struct {
        const char *sign;
        enum test_kind test;
    } signs[] = {{"<>", TEST_UNEQUAL}, {"!=", TEST_UNEQUAL}, {"<=", TEST_AT_MOST}, {">=", TEST_AT_LEAST},
                 {"<", TEST_LESS},     {">", TEST_MORE},     {"=", TEST_EQUAL}};

    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        if (sign(p, signs[i].sign)) {
            node->test = signs[i].test;
            return value(p, node);
        }
    }
    return stop(p, "=, <>, <, <=, >, >=, LIKE, ILIKE, BETWEEN, IN or IS NULL");
}

static int
list(struct parser *p, struct node *node)
{
    int rc = sign(p, "(") ? COFFER_OK : stop(p, "(");

    do {
        if (rc == COFFER_OK)
            rc = value(p, node);
    } while (rc == COFFER_OK && sign(p, ","));
    return rc == COFFER_OK && !sign(p, ")") ? stop(p, ", or )") : rc;
}

static int
test(struct parser *p, struct node **out)
{
    struct node *node = mem_alloc(sizeof *node);
    bool not = false;
    int rc;

    if (node == NULL)
        return error_nomem(p->err);
    node->kind = NODE_TEST;
    blanks(p);
    rc = *p->at == '"' ? quoted(p, '"', &node->column) : bare(p, false, &node->column);
    if (rc == COFFER_OK && keyword(p, "IS")) {
        node->test = TEST_NULL;
        not = keyword(p, "NOT");
        rc = keyword(p, "NULL") ? COFFER_OK : stop(p, "NULL");
    } else if (rc == COFFER_OK) {
        not = keyword(p, "NOT");
        if (keyword(p, "LIKE") || (node->test = 0, keyword(p, "ILIKE"))) {
            node->test = strncasecmp(p->at - 5, "ILIKE", 5) == 0 ? TEST_ILIKE : TEST_LIKE;
            rc = value(p, node);
        } else if (keyword(p, "BETWEEN")) {
            node->test = TEST_BETWEEN;
            rc = value(p, node);
            if (rc == COFFER_OK && !keyword(p, "AND"))
                rc = stop(p, "AND");
            if (rc == COFFER_OK)
                rc = value(p, node);
        } else if (keyword(p, "IN")) {
            node->test = TEST_IN;
            rc = list(p, node);
        } else {
            rc = not ? stop(p, "LIKE, ILIKE, BETWEEN or IN") : comparison(p, node);
        }
    }
    if (rc != COFFER_OK) {
        condition_free(node);
        return rc;
    }
    *out = not ? negated(node) : node;
    return *out == NULL ? error_nomem(p->err) : COFFER_OK;
}

static int either(struct parser *p, struct node **out);

static int
primary(struct parser *p, struct node **out)
{
    int rc;

    if (keyword(p, "NOT")) {
        if (++p->depth > DEPTH_MAX)
            return error_set(p->err, COFFER_E_LIMIT, "--where: too deep");
        rc = primary(p, out);
        p->depth--;
        if (rc == COFFER_OK)
            *out = negated(*out);
        return rc == COFFER_OK && *out == NULL ? error_nomem(p->err) : rc;
    }
    if (!sign(p, "("))
        return test(p, out);
    rc = either(p, out);
    if (rc == COFFER_OK && !sign(p, ")")) {
        condition_free(*out);
        *out = NULL;
        rc = stop(p, ")");
    }
    return rc;
}

/* A chain of one kind, grouped to the left. */
static int
chain(struct parser *p, const char *word, enum node_kind kind, int (*part)(struct parser *, struct node **), struct node **out)
{
    int rc = part(p, out);

    while (rc == COFFER_OK && keyword(p, word)) {
        struct node *both = mem_alloc(sizeof *both);

        if (both == NULL) {
            rc = error_nomem(p->err);
            break;
        }
        both->kind = kind;
        both->left = *out;
        *out = both;
        rc = part(p, &both->right);
    }
    if (rc != COFFER_OK) {
        condition_free(*out);
        *out = NULL;
    }
    return rc;
}

static int
all(struct parser *p, struct node **out)
{
    return chain(p, "AND", NODE_AND, primary, out);
}

static int
either(struct parser *p, struct node **out)
{
    int rc;

    *out = NULL;
    if (++p->depth > DEPTH_MAX)
        return error_set(p->err, COFFER_E_LIMIT, "--where: too deep");
    rc = chain(p, "OR", NODE_OR, all, out);
    p->depth--;
    return rc;
}

int
condition_parse(const char *text, struct node **out, struct coffer_error *err)
{
    struct parser p = {.text = text, .at = text, .err = err};
    int rc = either(&p, out);

    blanks(&p);
    if (rc == COFFER_OK && *p.at != '\0') {
        condition_free(*out);
        *out = NULL;
        rc = stop(&p, "AND, OR or the end");
    }
    return rc;
}

void
condition_free(struct node *node)
{
    if (node == NULL)
        return;
    condition_free(node->left);
    condition_free(node->right);
    for (size_t i = 0; i < node->value_count; i++) {
        mem_free(node->values[i]);
        if (node->kept != NULL)
            buf_wipe(&node->kept[i]);
    }
    mem_free(node->kept);
    mem_free(node->values);
    mem_free(node->parsed);
    mem_free(node->column);
    if (node->has_like)
        like_wipe(&node->like);
    mem_free(node);
}

enum truth
condition_holds(const struct node *node, condition_test_fn fn, void *arg)
{
    enum truth left, right;

    if (node->kind == NODE_TEST)
        return fn(arg, node);
    left = condition_holds(node->left, fn, arg);
    if (node->kind == NODE_NOT)
        return left == UNKNOWN ? UNKNOWN : left == YES ? NO : YES;
    right = condition_holds(node->right, fn, arg);
    if (node->kind == NODE_AND)
        return left == NO || right == NO ? NO : left == YES && right == YES ? YES : UNKNOWN;
    return left == YES || right == YES ? YES : left == NO && right == NO ? NO : UNKNOWN;
}

int
condition_each(struct node *node, condition_each_fn fn, void *arg, struct coffer_error *err)
{
    int rc;

    if (node->kind == NODE_TEST)
        return fn(arg, node, err);
    rc = condition_each(node->left, fn, arg, err);
    return rc == COFFER_OK && node->right != NULL ? condition_each(node->right, fn, arg, err) : rc;
}
