/* SPDX-License-Identifier: Apache-2.0 */
/* A volume with files in it and a keyring, both on disk, for tests of the life cycle of its keys. */
#ifndef COFFER_TESTS_LIFECYCLE_BENCH_H
#define COFFER_TESTS_LIFECYCLE_BENCH_H

#include "support/test.h"

#include "volume/lifecycle.h"

#define BENCH_FILES 9 /* names of regular files, one file of two names among them */

struct bench {
    char base[64], lower[96], path[96]; /* path: of the keyring */
    struct keyring_store *store;        /* over files */
    struct keyring_store seam;          /* over `store`: counts, and dies when told to */
    struct volume_env env;
    struct buf before; /* manifest of what was put in */
    char said[64][200];
    size_t said_count;
    unsigned asked, stop_at; /* of the stop callback; 0: never */
};

int bench_setup(void **state);
int bench_teardown(void **state);
/* A volume, made and filled. */
void bench_fill(struct bench *b, const struct volume_options *options);
bool bench_said(const struct bench *b, const char *part);

/* Ends the process with 9 at the n-th call or word from now on; 0: never. */
void bench_die_at(unsigned n);

/* The keyring as it is now; free it. */
struct keyring *bench_keyring(struct bench *b);
void bench_load(struct bench *b, struct volume_setup *setup);
uint32_t bench_key(struct bench *b, enum key_state state); /* the newest of the volume's in it; 0 */
/* Every upper path with type, size, hash and target, in order; fails the test if a name or a file does not open. */
void bench_manifest(struct bench *b, struct buf *out);
void bench_count(struct bench *b, struct volume_count *count);
/* The lower file of the upper path "one". */
void bench_lower_of(struct bench *b, const char *name, char out[400]);

void bench_must(struct bench *b, int rc, const struct coffer_error *err);
/* No rotation is open; all under the active key, in this form; the content as it was; certificates and escrow of all others. */
void bench_settled(struct bench *b, unsigned key_bits, bool encrypted_names);

#endif
