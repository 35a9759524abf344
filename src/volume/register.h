/* SPDX-License-Identifier: Apache-2.0 */
/* How a folder becomes a volume of the keyring: created there, or imported. */
#ifndef COFFER_VOLUME_REGISTER_H
#define COFFER_VOLUME_REGISTER_H

#include "volume/lifecycle.h"

/* Enter the volume at setup->lower (absolute) with an active key of its own, in one change audited as `event`; `details` is a JSON
 * object or NULL.  What an earlier run entered for this path, and no folder bears, is taken up again.  Sets id, line and in_keyring
 * of `setup`; `*newest` (the caller frees; what it held is the caller's still) is the keyring afterwards.  On failure neither is set.
 * LIMIT  a path that is too long     otherwise as audit_change() */
COFFER_MUST_CHECK int volume_register(const struct volume_env *env, const char *event, const char *details,
                                      struct volume_setup *setup, struct keyring **newest, struct coffer_error *err);

#endif
