/* SPDX-License-Identifier: Apache-2.0 */
/* Secret memory: locked, kept out of core dumps, wiped on free.  No formatter prints it, at any verbosity.
 *
 * Secrets are carved from locked pages (many a page, so that a modest RLIMIT_MEMLOCK is enough).  Where locking is refused
 * by the system, the memory is still kept out of dumps, and secret_locked() says false; `coffer status` mentions it.
 * Thread-safe.
 */
#ifndef COFFER_BASE_SECRET_H
#define COFFER_BASE_SECRET_H

#include "base/bytes.h"

struct secret;

/* A new secret of `len` (1 to 4000) zero bytes.  COFFER_E_NOMEM, COFFER_E_LIMIT. */
COFFER_MUST_CHECK int secret_new(size_t len, struct secret **out, struct coffer_error *err);
/* A copy of `data`. */
COFFER_MUST_CHECK int secret_copy(struct bytes data, struct secret **out, struct coffer_error *err);
void secret_free(struct secret *secret); /* wipes; accepts NULL */

/* The only way to the bytes: grep for it to audit. */
struct bytes secret_expose(const struct secret *secret);
uint8_t *secret_expose_mut(struct secret *secret);
size_t secret_len(const struct secret *secret);

bool secret_equal(struct bytes a, struct bytes b); /* constant time in the content; lengths are public */
void wipe(void *ptr, size_t len);                  /* not optimised away */
size_t secret_live_count(void);                    /* for tests */
bool secret_locked(void);

#endif
