/* SPDX-License-Identifier: Apache-2.0 */
/* Ids of sum columns: version of the key ‖ session ‖ counter, never given twice under one key.
 *
 * A repeated id reveals the difference of two values, and of a column with tags the secret that
 * protects its totals.  So a client draws ids from an issuer of its own: a session is ten random
 * bytes that live in one process, its counter runs from 1, threads share it.  A forked child, the
 * 2^32nd id, and each new hour begin a new session.  Ids of failed transactions are lost.
 *
 * What is left to the caller: an id is stored with one value only (a retry may resend identical
 * bytes); a process that forks gives none that it has drawn already to both sides; a machine whose
 * memory was saved and resumed twice starts its writers anew.
 * Specification: docs/FORMAT.md, "Sum columns".
 */
#ifndef COFFER_SUMS_IDS_H
#define COFFER_SUMS_IDS_H

#include "base/bytes.h"

#define SUM_ID_LEN 16
#define SUM_GROUP_LEN 12 /* an id without its counter */
#define SUM_VERSION_MAX 32767

/* As stored: two signed 64-bit columns, bytes 0 to 7 and 8 to 15. */
struct sum_id {
    int64_t hi, lo;
};

static inline void
sum_id_bytes(const struct sum_id *id, uint8_t out[SUM_ID_LEN])
{
    put_be64(out, (uint64_t)id->hi);
    put_be64(out + 8, (uint64_t)id->lo);
}
static inline struct sum_id
sum_id_of(const uint8_t group[SUM_GROUP_LEN], uint32_t counter)
{
    return (struct sum_id){(int64_t)get_be64(group),
                           (int64_t)((uint64_t)get_be32(group + 8) << 32 | counter)};
}
static inline unsigned
sum_id_version(const struct sum_id *id)
{
    return (unsigned)((uint64_t)id->hi >> 48);
}
static inline uint32_t
sum_id_counter(const struct sum_id *id)
{
    return (uint32_t)id->lo;
}

struct sum_issuer;

/* `now_ms` is a clock that never goes back (NULL: CLOCK_BOOTTIME).
 *
 * COFFER_E_NOMEM        out of memory
 * COFFER_E_MISUSE       version 0, or above SUM_VERSION_MAX
 * COFFER_E_UNSUPPORTED  the kernel has no MADV_WIPEONFORK (Linux 4.14)
 */
COFFER_MUST_CHECK int sum_issuer_new(unsigned version, int64_t (*now_ms)(void),
                                     struct sum_issuer **out, struct coffer_error *err);
void sum_issuer_free(struct sum_issuer *issuer); /* accepts NULL; no thread may be drawing */

/* `count` (1 to 2^20; else MISUSE) ids of one session with consecutive counters; `first` is the
 * lowest: sum_id_next() gives the others.  Any number of threads may draw at once.  NOMEM, IO (no
 * random bytes). */
COFFER_MUST_CHECK int sum_ids_draw(struct sum_issuer *issuer, uint32_t count, struct sum_id *first,
                                   struct coffer_error *err);
static inline struct sum_id
sum_id_next(struct sum_id id, uint32_t by)
{
    id.lo += by; /* the counter's four bytes do not overflow within one draw */
    return id;
}

#endif
