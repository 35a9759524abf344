/* SPDX-License-Identifier: Apache-2.0 */
/* The kept generations of a keyring file: NAME.<epoch>, the five newest. */
#ifndef COFFER_HOST_GENERATIONS_H
#define COFFER_HOST_GENERATIONS_H

#include "base/os.h"
#include "keyring/keyring.h"

#define GENERATIONS_KEPT 5

/* Epochs of the generations of `path` that are there, newest first; at most `max`.  IO if the folder cannot be read, NOMEM. */
COFFER_MUST_CHECK int generations_find(const char *path, uint64_t *epochs, size_t max, size_t *count, struct coffer_error *err);
/* Remove all but the newest GENERATIONS_KEPT.  A failure to remove an old one harms nothing. */
void generations_prune(const struct os *os, const char *path);
/* Remove those that still hold the material of key `id`, so that destroying it is not a word only.  `known` has the root key. */
COFFER_MUST_CHECK int generations_forget(const struct os *os, const char *path, const struct keyring *known, uint32_t id,
                                         struct coffer_error *err);

#endif
