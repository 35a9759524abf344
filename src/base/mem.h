/* SPDX-License-Identifier: Apache-2.0 */
/* Heap memory through a seam, so that a test can fail the n-th allocation. */
#ifndef COFFER_BASE_MEM_H
#define COFFER_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size);                 /* zeroed; NULL when out of memory; size 0 is size 1 */
void *mem_array(size_t count, size_t size);   /* zeroed; NULL on overflow too */
void *mem_grow(void *old, size_t size);       /* realloc; on NULL the old block is intact */
void mem_free(void *block);                   /* accepts NULL */
char *mem_strdup(const char *text);
char *mem_strndup(const char *text, size_t len);
char *mem_format(const char *format, ...) __attribute__((format(printf, 1, 2))); /* NULL when out of memory */

/* Test seam: called before each allocation (secret memory too); returning non-zero makes it fail.  NULL removes it. */
void mem_set_fault(int (*fails)(void));
int mem_fault(void); /* 1 if the hook says fail; for other allocators of base/ */

#endif
