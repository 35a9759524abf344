/* SPDX-License-Identifier: Apache-2.0 */
/* The table of functions of a KEK provider: what turns a file, a passphrase or a service into a keyring's root key.
 *
 * A keyring file names its provider and carries that provider's parameters (salt and costs for a passphrase, a wrapped
 * root key for a service to come).  The two providers that need no I/O are here, where libcoffer finds them; those that
 * read files, prompts or services live in kek/.
 */
#ifndef COFFER_KEYRING_KEK_H
#define COFFER_KEYRING_KEK_H

#include "base/bytes.h"
#include "base/secret.h"

#define KEK_PARAMS_MAX 4096

struct kek {
    uint16_t kind; /* enum coffer_kek_kind, in the file; append only */
    /* Make parameters for a new keyring and give its root key (32 bytes, the caller frees). */
    int (*create)(struct kek *kek, struct buf *params, struct secret **root, struct coffer_error *err);
    /* Give the root key of a keyring with `params`.  KEK, FORMAT, LIMIT, IO, NOMEM. */
    int (*unlock)(struct kek *kek, struct bytes params, struct secret **root, struct coffer_error *err);
    void (*close)(struct kek *kek); /* wipes and frees `kek` */
    void *ctx;
};
void kek_close(struct kek *kek); /* accepts NULL */

/* Providers over bytes in memory, which they copy; close with kek_close().
 * MISUSE  a key that is not 32 bytes; an empty passphrase, or one that is not UTF-8
 * LIMIT   a passphrase of more than KEK_PASSPHRASE_MAX bytes */
#define KEK_KEY_LEN 32
#define KEK_PASSPHRASE_MAX 1024
COFFER_MUST_CHECK int kek_key_new(struct bytes key, struct kek **out, struct coffer_error *err);
COFFER_MUST_CHECK int kek_root_new(struct bytes root, struct kek **out, struct coffer_error *err); /* opens a file of any kind */
COFFER_MUST_CHECK int kek_passphrase_new(struct bytes passphrase, struct kek **out, struct coffer_error *err);

#endif
