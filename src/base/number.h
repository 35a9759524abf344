/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as people read them: digits in groups of three, the noun in its number.  No state. */
#ifndef COFFER_BASE_NUMBER_H
#define COFFER_BASE_NUMBER_H

#include <stdint.h>

void grouped(uint64_t n, char out[32]); /* 12 300 */

/* By value, so that it can stand in a call: counted(n, "cell").text */
struct counted {
    char text[64];
};
/* "1 cell", "40 000 cells", "2 passes" */
struct counted counted(uint64_t n, const char *noun);

#endif
