/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks of a table: who walks which range of keys, kept in the journal so that many workers share
 * one pass.
 *
 *   (not cut) --chunk_claim--> open, leased --chunk_done--> done
 *                                |  lease over, or its owner is gone
 *                                +--chunk_claim by another--> open, leased
 *
 * A lease only saves work: two workers in one range do no harm, since every row is written only as
 * it was read. Journal table "chunk", keys "<rotation>/<pass>/<table>/frontier" and "…/<%08u>";
 * docs/FORMAT.md "Chunks".
 */
#ifndef COFFER_ROTATE_CHUNK_H
#define COFFER_ROTATE_CHUNK_H

#include "rotate/internal.h"
#include "rotate/row_key.h"

#define CHUNK_LEASE_MS 30000

struct chunks { /* of one table in one pass; borrows everything */
    struct journal *journal;
    const struct os *os;
    const struct rotation *rotation;
    const struct db_table *table;
    const char *owner;
    uint64_t rows; /* how many make a chunk */
};

struct chunk {
    uint32_t number;
    uint64_t epoch; /* of its journal row, while it is ours */
    struct row_key after, until;
    bool done;
    char owner[64];
    int64_t lease_us; /* Unix time until which it is the owner's */
    struct walk_stats stats;
};
void chunk_init(struct chunk *chunk);
void chunk_wipe(struct chunk *chunk);

enum chunk_found {
    CHUNK_OURS = 1,
    CHUNK_BUSY /* others hold what is left */,
    CHUNK_NONE /* all done */
};

/* Lease one: first a new one cut from the table, and when all are cut, one that somebody dropped.
 */
COFFER_MUST_CHECK int chunk_claim(const struct chunks *chunks, struct db_walk *walk,
                                  struct chunk *out, enum chunk_found *found,
                                  struct coffer_error *err);
/* Hold it for another lease; CONFLICT when it has become somebody else's. */
COFFER_MUST_CHECK int chunk_renew(const struct chunks *chunks, struct chunk *chunk,
                                  struct coffer_error *err);
/* Finished, never walked again in this pass; or given back unfinished (`done` false).  CONFLICT as
 * above. */
COFFER_MUST_CHECK int chunk_end(const struct chunks *chunks, struct chunk *chunk, bool done,
                                struct coffer_error *err);

#endif
