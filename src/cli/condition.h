/* SPDX-License-Identifier: Apache-2.0 */
/* The conditions of `coffer query`: over protected and plain columns alike.
 *
 *   or    = and { OR and }          and = not { AND not }          not = [NOT] ( "(" or ")" | test )
 *   test  = column ( = | <> | != | < | <= | > | >= ) value | column [NOT] LIKE|ILIKE 'pattern' | column [NOT] BETWEEN value AND value
 *         | column [NOT] IN ( value, … ) | column IS [NOT] NULL
 *   value = number, 'text', or a bare word as 1950-01-01
 *
 * What the server is asked for is a superset: the caller opens each row and lets condition_holds() decide.
 */
#ifndef COFFER_CLI_CONDITION_H
#define COFFER_CLI_CONDITION_H

#include "base/bytes.h"
#include "search/like.h"

enum node_kind { NODE_AND = 1, NODE_OR, NODE_NOT, NODE_TEST };
enum test_kind { TEST_EQUAL = 1, TEST_UNEQUAL, TEST_LESS, TEST_AT_MOST, TEST_MORE, TEST_AT_LEAST, TEST_LIKE, TEST_ILIKE, TEST_BETWEEN, TEST_IN,
                 TEST_NULL };
enum truth { NO = 0, YES = 1, UNKNOWN = 2 }; /* SQL's three */

#define CONDITION_VALUES_MAX 256

struct node {
    enum node_kind kind;
    struct node *left, *right; /* NOT: left */
    enum test_kind test;
    char *column;
    char **values; /* as written, quotes taken off */
    size_t value_count;
    /* the caller's, of a test: */
    size_t column_index;
    struct coffer_value *parsed; /* value_count of them */
    struct buf *kept;            /* what each of these borrows from */
    struct like like;
    bool has_like;
    size_t result; /* of a plain test: which extra column of the row has its truth */
    bool plain;
};

/* MISUSE, with the place where it stops making sense.  LIMIT: too deep, too many values.  Free with condition_free(). */
COFFER_MUST_CHECK int condition_parse(const char *text, struct node **out, struct coffer_error *err);
void condition_free(struct node *node); /* accepts NULL */

typedef enum truth (*condition_test_fn)(void *arg, const struct node *test);
enum truth condition_holds(const struct node *node, condition_test_fn test, void *arg);
/* Called for each test, from left to right. */
typedef int (*condition_each_fn)(void *arg, struct node *test, struct coffer_error *err);
COFFER_MUST_CHECK int condition_each(struct node *node, condition_each_fn fn, void *arg, struct coffer_error *err);

#endif
