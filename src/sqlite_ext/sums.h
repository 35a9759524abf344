/* SPDX-License-Identifier: Apache-2.0 */
/* Aggregates that add encrypted values; none sees a key.
 *
 *   coffer_sum(hi, lo, c)          the answer of docs/FORMAT.md, "Answer of the sum aggregate"
 *   coffer_paillier_sum(c, n2)     version and ciphertext of the sum; all rows of one version, n2 = n² in 768 bytes
 *
 * Rows whose value is NULL do not count; without any row the answer is NULL. */
#ifndef COFFER_SQLITE_EXT_SUMS_H
#define COFFER_SQLITE_EXT_SUMS_H

struct sqlite3;

int sums_register(struct sqlite3 *db); /* an SQLite status */

#endif
