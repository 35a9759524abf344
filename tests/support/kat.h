/* SPDX-License-Identifier: Apache-2.0 */
/* Known-answer files: lines `name = value`, a blank line ends a case, `#` starts a comment line.
 *
 * Values are hex unless the test asks for text or a number; a name without a value is empty.  A
 * name may stand once in a case.  Malformed files, missing names and unequal answers fail the test,
 * with file and line.
 */
#ifndef COFFER_TESTS_KAT_H
#define COFFER_TESTS_KAT_H

#include "base/bytes.h"

struct kat_case;
typedef void (*kat_check)(struct kat_case *c);

/* Run `check` on each case of tests/kat/`name`; there must be exactly `expected` cases. */
void kat_run(const char *name, unsigned expected, kat_check check);

bool kat_has(const struct kat_case *c, const char *name);
struct bytes kat_bytes(struct kat_case *c, const char *name); /* lives as long as the case */
const char *kat_text(const struct kat_case *c, const char *name);
uint64_t kat_u64(const struct kat_case *c, const char *name);
void kat_assert_equal(struct kat_case *c, const char *name, struct bytes actual);
void kat_assert_int(const struct kat_case *c, const char *what, int actual, int expected);

#endif
