/* SPDX-License-Identifier: Apache-2.0 */
/* A keyring_store in memory, for tests: a test is the disk.
 *
 * It keeps encoded files, as the real one does, so that what a test reads back went through the file format.
 * Failures are ordered by setting `fail`: the next calls of that function fail with that status. */
#ifndef COFFER_TESTS_MEMORY_STORE_H
#define COFFER_TESTS_MEMORY_STORE_H

#include "keyring/store.h"

enum memory_store_call {
    MEMORY_LOAD,
    MEMORY_COMMIT, /* nothing is stored */
    MEMORY_ESCROW_PUT,
    MEMORY_ESCROW_GET,
    MEMORY_ESCROW_REMOVE,
    MEMORY_AUDIT_APPEND,
    MEMORY_AUDIT_READ,
    MEMORY_CERTIFICATE_PUT,
    MEMORY_CERTIFICATE_GET,
    MEMORY_CALLS,
};

struct memory_file {
    char name[128];
    struct buf content;
};

struct memory_store {
    struct keyring_store store; /* hand out &m->store */
    struct kek *kek;            /* 32 bytes of 0x42 */
    struct buf file;            /* the keyring, encoded */
    struct keyring *known;      /* the newest, decoded; for the root key */
    struct memory_file escrow[64], certificates[64];
    size_t escrow_count, certificate_count;
    struct buf audit;
    struct {
        int status; /* what the failing call returns */
        unsigned after;  /* calls that still succeed */
        unsigned times;  /* then so many fail */
    } fail[MEMORY_CALLS];
    unsigned calls[MEMORY_CALLS];
    /* Called between the check and the write of a commit, NULL for none: another client that commits first. */
    void (*before_commit)(struct memory_store *m);
};

/* A store with a new keyring at epoch 1.  Asserts; free with memory_store_free(). */
struct memory_store *memory_store_new(void);
void memory_store_free(struct memory_store *m);
/* Put another content in, as if the disk were exchanged: for roll-back tests. */
void memory_store_replace(struct memory_store *m, struct bytes file);

#endif
