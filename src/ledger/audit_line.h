/* SPDX-License-Identifier: Apache-2.0 */
/* One line of the audit log, and where lines are.  docs/FORMAT.md "Audit log". */
#ifndef COFFER_LEDGER_AUDIT_LINE_H
#define COFFER_LEDGER_AUDIT_LINE_H

#include "ledger/audit.h"
#include "ledger/json.h"

struct audit_line {
    uint64_t seq;
    int64_t at_us;
    uint32_t key_id; /* the audit key that signed it */
    uint8_t prev[32];
    const char *who, *event; /* borrowed from `object` */
    json_t *object;          /* without its signature */
};

/* Read and check the form of a line (without its newline): exactly the canonical text.  FORMAT. */
COFFER_MUST_CHECK int audit_line_read(struct bytes text, struct audit_line *out,
                                      uint8_t signature[LEDGER_SIGNATURE_LEN],
                                      struct coffer_error *err);
/* Check the signature by the key that it names in `keyring`, or by `public_key`.  AUTH, KEY. */
COFFER_MUST_CHECK int audit_line_check(const struct audit_line *line,
                                       const uint8_t signature[LEDGER_SIGNATURE_LEN],
                                       const struct keyring *keyring, const uint8_t *public_key,
                                       struct coffer_error *err);
void audit_line_wipe(struct audit_line *line);

/* Append a signed line, with its newline; `hash` receives its hash.  `details`: borrowed object. */
COFFER_MUST_CHECK int audit_line_write(const struct keyring *keyring, uint64_t seq, int64_t at_us,
                                       const char *who, const char *event, json_t *details,
                                       const uint8_t prev[32], struct buf *out, uint8_t hash[32],
                                       struct coffer_error *err);

/* The next complete line at `*rest`, which moves on; false when none is left (what stays in `*rest`
 * is a line without its end). */
bool audit_line_next(struct bytes *rest, struct bytes *line);

#endif
