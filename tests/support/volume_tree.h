/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes on real folders for tests: made of plain files, and compared with them byte for byte, without a mount. */
#ifndef COFFER_TESTS_VOLUME_TREE_H
#define COFFER_TESTS_VOLUME_TREE_H

#include "volume/format.h"

/* A folder of its own under $TMPDIR; tree_remove() takes it away. */
void tree_make(char path[64]);
void tree_remove(const char *path);

/* Key number `n` of the tests, made once. */
const struct volume_key *tree_key(unsigned n);
/* A volume that writes under the first of `count` key numbers. */
struct volume *tree_volume(const struct volume_options *options, const unsigned *keys, size_t count);
struct volume *tree_volume1(unsigned key_bits, unsigned key);
struct volume *tree_volume2(unsigned key_bits, unsigned key, unsigned former);

/* Write an upper file `lower`/`path` (names as they are) of `len` bytes that depend on `seed`; its folder must be there. */
void tree_write(struct volume *volume, const char *lower, const char *path, size_t len, unsigned seed);
/* It has those bytes and opens in `volume`; else the test fails. */
void tree_expect(struct volume *volume, const char *lower, const char *path, size_t len, unsigned seed);
/* 0, or what opening says. */
int tree_open_error(struct volume *volume, const char *lower, const char *path);

#endif
