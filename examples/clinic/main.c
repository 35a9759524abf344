/* SPDX-License-Identifier: Apache-2.0 */
#include "clinic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
usage(void)
{
    fputs("clinic make FILE [ROWS [SEED]]              make the example database\n"
          "clinic traffic FILE KEYRING KEK [THREADS]   read and write it until SIGTERM; SIGUSR1 "
          "prints figures\n",
          stderr);
    return 2;
}

int
main(int argc, char **argv)
{
    if (argc >= 3 && argc <= 5 && strcmp(argv[1], "make") == 0)
        return clinic_make(argv[2], argc > 3 ? strtol(argv[3], NULL, 10) : 100000,
                           argc > 4 ? strtoull(argv[4], NULL, 10) : 1);
    if (argc >= 5 && argc <= 6 && strcmp(argv[1], "traffic") == 0)
        return clinic_traffic(argv[2], argv[3], argv[4], argc > 5 ? atoi(argv[5]) : 2);
    return usage();
}
