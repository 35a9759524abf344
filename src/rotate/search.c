/* SPDX-License-Identifier: Apache-2.0 */
#include "rotate/search.h"

#include "base/mem.h"
#include "base/secret.h"

#include <stdio.h>
#include <string.h>

void
search_init(struct search *search)
{
    memset(search, 0, sizeof *search);
}

void
search_wipe(struct search *search)
{
    if (search->needles != NULL)
        wipe(search->needles, search->count * sizeof *search->needles);
    mem_free(search->needles);
    memset(search, 0, sizeof *search);
}

int
search_add(struct search *search, struct bytes text, unsigned owner, struct coffer_error *err)
{
    size_t len = text.len < SEARCH_MAX ? text.len : SEARCH_MAX, i;
    struct needle *grown;
    unsigned start;

    if (len < SEARCH_MIN)
        return COFFER_OK;
    for (i = 0; i < search->count; i++) {
        if (search->needles[i].len == len && memcmp(search->needles[i].bytes, text.ptr, len) == 0)
            return COFFER_OK;
    }
    /* Grown by hand: what is moved may be plaintext and is wiped where it was. */
    grown = mem_array(search->count + 1, sizeof *grown);
    if (grown == NULL)
        return error_nomem(err);
    if (search->count > 0) {
        memcpy(grown, search->needles, search->count * sizeof *grown);
        wipe(search->needles, search->count * sizeof *grown);
        mem_free(search->needles);
    }
    search->needles = grown;
    grown = &grown[search->count++];
    memset(grown, 0, sizeof *grown);
    memcpy(grown->bytes, text.ptr, len);
    grown->len = len;
    grown->owner = owner;
    start = (unsigned)text.ptr[0] << 8 | text.ptr[1];
    search->starts[start / 8] |= (uint8_t)(1u << start % 8);
    return COFFER_OK;
}

static void
found_at(struct needle *needle, const char *file, uint64_t at)
{
    if (needle->found > 0 && needle->first == at && strcmp(needle->file, file) == 0)
        return; /* the same, in the part that two pieces share */
    if (needle->found++ == 0) {
        snprintf(needle->file, sizeof needle->file, "%s", file);
        needle->first = at;
    }
}

void
search_feed(struct search *search, const char *file, uint64_t offset, struct bytes piece)
{
    size_t at, i;

    if (piece.len < SEARCH_MIN)
        return;
    for (at = 0; at + SEARCH_MIN <= piece.len; at++) {
        unsigned start = (unsigned)piece.ptr[at] << 8 | piece.ptr[at + 1];

        if ((search->starts[start / 8] & 1u << start % 8) == 0)
            continue;
        for (i = 0; i < search->count; i++) {
            struct needle *needle = &search->needles[i];

            if (needle->len <= piece.len - at &&
                memcmp(piece.ptr + at, needle->bytes, needle->len) == 0)
                found_at(needle, file, offset + at);
        }
    }
}
