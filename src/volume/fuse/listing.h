/* SPDX-License-Identifier: Apache-2.0 */
/* All names of a folder at one instant, in memory: what a reader gets while names move below it. */
#ifndef COFFER_VOLUME_FUSE_LISTING_H
#define COFFER_VOLUME_FUSE_LISTING_H

#include "base/bytes.h"

#include <sys/types.h>

#define LISTING_START ((off_t)1 << 62) /* position of the first name; each takes one */

struct listing;

struct listing *listing_new(void); /* NULL: out of memory */
void listing_free(struct listing *listing);
/* 0 or -ENOMEM */
int listing_add(struct listing *listing, const char *name, uint64_t ino, uint8_t type);
/* The name at a position; false beyond the last, or for what is no position of a list. */
bool listing_at(const struct listing *listing, off_t at, const char **name, uint64_t *ino, uint8_t *type);

#endif
