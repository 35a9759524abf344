/* SPDX-License-Identifier: Apache-2.0 */
/* Which columns a condition in SQL names: of sealed ones the database holds ciphertext, which no comparison finds. */
#include "cli/where.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static bool
word_byte(unsigned char c)
{
    return isalnum(c) || c == '_' || c == '$' || c >= 0x80;
}

/* Behind a string literal, a comment or a quoted name that begins at `p`; `p` itself if none does. */
static const char *
skip_literal(const char *p)
{
    const char *end;

    if (*p == '\'') {
        for (end = p + 1; *end != '\0'; end++)
            if (*end == '\'' && *++end != '\'')
                return end;
        return end;
    }
    if (p[0] == '-' && p[1] == '-')
        return p + strcspn(p, "\n");
    if (p[0] == '/' && p[1] == '*') {
        end = strstr(p + 2, "*/");
        return end != NULL ? end + 2 : p + strlen(p);
    }
    return p;
}

/* "IS NULL" and "IS NOT NULL" are as true of ciphertext. */
static bool
asks_for_null(const char *p)
{
    static const char *const WORDS[] = {"is", "not", "null"};

    for (size_t i = 0; i < 3; i++) {
        size_t len = strlen(WORDS[i]);

        p += strspn(p, " \t\n\"`]");
        if (strncasecmp(p, WORDS[i], len) == 0 && !word_byte((unsigned char)p[len]))
            p += len;
        else if (i != 1)
            return false;
    }
    return true;
}

bool
where_names(const char *where, const char *column, bool nulls)
{
    size_t len = strlen(column);

    for (const char *p = where; *p != '\0';) {
        const char *next = skip_literal(p);
        size_t word = 0;

        if (next != p) {
            p = next;
            continue;
        }
        while (word_byte((unsigned char)p[word]))
            word++;
        if (word == len && strncasecmp(p, column, len) == 0 &&
            (nulls || !asks_for_null(p + len)))
            return true;
        p += word > 0 ? word : 1;
    }
    return false;
}
