/* SPDX-License-Identifier: Apache-2.0 */
/* A lower file in memory: a test is the disk.  It fails, tears and counts as told. */
#ifndef COFFER_TESTS_MEMORY_LOWER_H
#define COFFER_TESTS_MEMORY_LOWER_H

#include "volume/format.h"

#define MEMORY_XATTR_MAX 8192

enum memory_lower_call {
    LOWER_READ,
    LOWER_WRITE,
    LOWER_TRUNCATE,
    LOWER_RESERVE,
    LOWER_LENGTH,
    LOWER_SYNC,
    LOWER_XATTR_GET,
    LOWER_XATTR_SET,
    LOWER_CALLS,
};

struct memory_lower {
    struct lower lower; /* hand out &m->lower */
    uint8_t *bytes;
    uint64_t length, room;
    uint8_t xattr[MEMORY_XATTR_MAX]; /* user.ecryptfs */
    ssize_t xattr_len;               /* -1: none */
    bool closed;

    /* Fail the `fail_at`-th call from now (1: the next; 0: none) with `fail_error`, negative.  A write that
     * fails has written `tear` bytes of its data before. `room_max` bytes are the disk: beyond it -ENOSPC. */
    unsigned fail_at;
    int fail_error;
    size_t tear;
    bool fired;
    uint64_t room_max; /* 0: no limit */
    bool no_reserve;   /* -EOPNOTSUPP */

    unsigned calls[LOWER_CALLS];
    unsigned dsync_writes;
    uint64_t written_at_last; /* where the last write began */
    bool last_sync_data_only;
};

/* Asserts; free with memory_lower_free(), whether a file has closed it or not. */
struct memory_lower *memory_lower_new(void);
struct memory_lower *memory_lower_of(struct bytes content); /* a copy */
void memory_lower_free(struct memory_lower *m);
void memory_lower_fail(struct memory_lower *m, unsigned nth, int error, size_t tear);
void memory_lower_count_from_zero(struct memory_lower *m);
struct bytes memory_lower_view(const struct memory_lower *m);

#endif
