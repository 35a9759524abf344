/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int (*fault)(void);

void
mem_set_fault(int (*fails)(void))
{
    fault = fails;
}

int
mem_fault(void)
{
    return fault != NULL && fault();
}

void *
mem_alloc(size_t size)
{
    return mem_fault() ? NULL : calloc(1, size > 0 ? size : 1);
}

void *
mem_array(size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size)
        return NULL;
    return mem_alloc(count * size);
}

void *
mem_grow(void *old, size_t size)
{
    return mem_fault() ? NULL : realloc(old, size > 0 ? size : 1);
}

void
mem_free(void *block)
{
    free(block);
}

char *
mem_strndup(const char *text, size_t len)
{
    char *copy = mem_alloc(len + 1);

    if (copy != NULL)
        memcpy(copy, text, len);
    return copy;
}

char *
mem_strdup(const char *text)
{
    return mem_strndup(text, strlen(text));
}

char *
mem_format(const char *format, ...)
{
    va_list args, again;
    char *text = NULL;
    int len;

    va_start(args, format);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, args);
    if (len >= 0)
        text = mem_alloc((size_t)len + 1);
    if (text != NULL)
        vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}
