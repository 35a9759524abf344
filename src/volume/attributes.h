/* SPDX-License-Identifier: Apache-2.0 */
/* All that a lower file has beside its bytes, moved to the file that takes its place. */
#ifndef COFFER_VOLUME_ATTRIBUTES_H
#define COFFER_VOLUME_ATTRIBUTES_H

#include "volume/format.h"

/* Flags that take hold only while a file is empty (no copy-on-write, and such); what cannot be set is left. */
void attributes_begin(int from, int to);

/* Owner, mode, extended attributes and access control lists but the format's own (`hidden`, NULL-ended), times: afterwards `to` has what
 * `from` has, and no more.  0 or a negative errno. */
COFFER_MUST_CHECK int attributes_copy(int from, int to, const char *const *hidden);

#endif
