/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/fuse/listing.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>

/* One after the other in `bytes`: number (8), type (1), name with its zero. */
enum { NAME_AT = 9 };

struct listing {
    uint8_t *bytes;
    size_t *starts;
    size_t used, size, count, max;
};

struct listing *
listing_new(void)
{
    return mem_alloc(sizeof(struct listing));
}

void
listing_free(struct listing *listing)
{
    if (listing == NULL)
        return;
    mem_free(listing->bytes);
    mem_free(listing->starts);
    mem_free(listing);
}

static int
make_room(struct listing *listing, size_t more)
{
    if (listing->count == listing->max) {
        size_t max = listing->max > 0 ? 2 * listing->max : 64;
        size_t *starts = mem_array(max, sizeof *starts);

        if (starts == NULL)
            return -ENOMEM;
        if (listing->count > 0)
            memcpy(starts, listing->starts, listing->count * sizeof *starts);
        mem_free(listing->starts);
        listing->starts = starts;
        listing->max = max;
    }
    if (more > listing->size - listing->used) {
        size_t size = 2 * listing->size + more + 1024;
        uint8_t *bytes = mem_alloc(size);

        if (bytes == NULL)
            return -ENOMEM;
        if (listing->used > 0)
            memcpy(bytes, listing->bytes, listing->used);
        mem_free(listing->bytes);
        listing->bytes = bytes;
        listing->size = size;
    }
    return 0;
}

int
listing_add(struct listing *listing, const char *name, uint64_t ino, uint8_t type)
{
    size_t len = strlen(name) + 1;
    uint8_t *at;
    int rc = make_room(listing, NAME_AT + len);

    if (rc != 0)
        return rc;
    at = listing->bytes + listing->used;
    put_be64(at, ino);
    at[8] = type;
    memcpy(at + NAME_AT, name, len);
    listing->starts[listing->count++] = listing->used;
    listing->used += NAME_AT + len;
    return 0;
}

bool
listing_at(const struct listing *listing, off_t at, const char **name, uint64_t *ino, uint8_t *type)
{
    const uint8_t *entry;

    if (at < LISTING_START || (uint64_t)(at - LISTING_START) >= listing->count)
        return false;
    entry = listing->bytes + listing->starts[at - LISTING_START];
    *ino = get_be64(entry);
    *type = entry[8];
    *name = (const char *)entry + NAME_AT;
    return true;
}
