/* SPDX-License-Identifier: Apache-2.0 */
#include "clinic.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
usage(void)
{
    fputs("clinic make URL [ROWS [SEED]]\n"
          "    make the example database; a clinic that was made so before is replaced\n"
          "clinic traffic URL KEYRING KEK [THREADS]\n"
          "    read and write it until SIGTERM; SIGUSR1 prints figures\n"
          "URL is sqlite:PATH or postgresql://…\n",
          stderr);
    return 2;
}

static bool
number(const char *text, long min, long max, long *out)
{
    char *end;

    errno = 0;
    *out = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *out >= min && *out <= max;
}

int
main(int argc, char **argv)
{
    long rows = 100000, seed = 1, threads = 2;

    if (argc >= 3 && argc <= 5 && strcmp(argv[1], "make") == 0) {
        if ((argc > 3 && !number(argv[3], 1, 1000000000, &rows)) ||
            (argc > 4 && !number(argv[4], 0, LONG_MAX, &seed)))
            return usage();
        return clinic_make(argv[2], rows, (uint64_t)seed);
    }
    if (argc >= 5 && argc <= 6 && strcmp(argv[1], "traffic") == 0) {
        if (argc > 5 && !number(argv[5], 1, 256, &threads))
            return usage();
        return clinic_traffic(argv[2], argv[3], argv[4], (int)threads);
    }
    return usage();
}
