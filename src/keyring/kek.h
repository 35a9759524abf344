/* SPDX-License-Identifier: Apache-2.0 */
/* The table of functions of a KEK provider: what turns a file, a passphrase or a service into a keyring's root key.
 *
 * A keyring file names its provider and carries that provider's parameters (salt and costs for a passphrase, a wrapped
 * root key for a service to come).  Providers live in kek/; libcoffer uses the two that need no I/O.
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

#endif
