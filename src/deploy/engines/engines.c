/* SPDX-License-Identifier: Apache-2.0 */
/* The engines that there are. */
#include "deploy/engines/internal.h"

#include <string.h>

const struct engine *const engines[] = {&engine_postgresql, &engine_mariadb, &engine_redis,
                                        &engine_sqlite, NULL};

const struct engine *
engine_find(const char *name)
{
    size_t i;

    for (i = 0; engines[i] != NULL; i++)
        if (strcmp(engines[i]->name, name) == 0)
            return engines[i];
    return NULL;
}
