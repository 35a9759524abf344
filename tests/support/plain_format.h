/* SPDX-License-Identifier: Apache-2.0 */
/* A format that is not eCryptfs: shows that the core knows none.
 *
 * Names begin with "p."; targets of links are reversed; a file has a 16-byte header ("PLAIN", a key byte, two zero bytes, the size
 * as eight bytes) and its bytes XORed with the key byte.  The extended attribute user.plain is the format's own. */
#ifndef COFFER_TESTS_PLAIN_FORMAT_H
#define COFFER_TESTS_PLAIN_FORMAT_H

#include "volume/format.h"

extern const struct volume_format plain_format;

/* A volume that writes under `key` and reads under `key` and `old`. */
struct volume *plain_volume(uint8_t key, uint8_t old);

#endif
