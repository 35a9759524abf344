/* SPDX-License-Identifier: Apache-2.0 */
#include "base/number.h"

#include <stdio.h>
#include <string.h>

void
grouped(uint64_t n, char out[32])
{
    char digits[24];
    size_t len = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    size_t at = 0, i;

    for (i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[at++] = ' ';
        out[at++] = digits[i];
    }
    out[at] = '\0';
}

struct counted
counted(uint64_t n, const char *noun)
{
    struct counted out;
    char number[32];
    size_t len = strlen(noun);

    grouped(n, number);
    snprintf(out.text, sizeof out.text, "%s %.24s%s", number, noun,
             n == 1                               ? ""
             : len > 0 && noun[len - 1] == 's' ? "es"
                                                  : "s");
    return out;
}
