/* SPDX-License-Identifier: Apache-2.0 */
/* KEK providers: `file:PATH` (exactly 32 random bytes) and `passphrase:` (prompt) or `passphrase:FILE` (first line). */
#ifndef COFFER_KEK_KEK_OPEN_H
#define COFFER_KEK_KEK_OPEN_H

#include "base/os.h"
#include "keyring/kek.h"

/* Asked for a passphrase; `confirm` for a new one.  The implementation fills `out` (a secret).  NULL: no terminal, REFUSED. */
typedef int (*kek_prompt)(void *arg, const char *question, bool confirm, struct secret **out, struct coffer_error *err);

/* Open a provider by URI.  A file is read at once.  A prompt is asked once, when its answer is first needed: with `confirm`
 * by a new keyring, without by an existing one; `prompt_arg` must live as long as the provider.  MISUSE for an unknown scheme (lists the known), NOTFOUND,
 * IO, FORMAT (a key file that is not 32 bytes), REFUSED (a file that group or others may read). */
COFFER_MUST_CHECK int kek_open(const char *uri, const struct os *os, kek_prompt prompt, void *prompt_arg, struct kek **out,
                               struct coffer_error *err);
/* The secret of a provider by URI, for coffer_new(): `*kind` is an enum coffer_kek_kind.  Errors as kek_open(). */
COFFER_MUST_CHECK int kek_secret(const char *uri, const struct os *os, kek_prompt prompt, void *prompt_arg, int *kind,
                                 struct secret **out, struct coffer_error *err);
/* For `keyring init`: make the key file (32 random bytes, 0600) if it is missing; never overwrites.  `*made` says so. */
COFFER_MUST_CHECK int kek_prepare(const char *uri, const struct os *os, bool *made, struct coffer_error *err);

#endif
