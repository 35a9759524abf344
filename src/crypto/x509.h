/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates of a small authority (RFC 5280): EC P-256 keys, ECDSA with SHA-256, everything as PEM.
 *
 * A key is PKCS #8 in clear, so it travels as a secret.  Times are Unix seconds.  No shared state.
 */
#ifndef COFFER_CRYPTO_X509_H
#define COFFER_CRYPTO_X509_H

#include "crypto/crypto.h"

#define X509_NAMES_MAX 8

/* A new authority: may sign certificates of servers, no further authorities. */
COFFER_MUST_CHECK int x509_authority(const char *common_name, int64_t from, int64_t until,
                                     struct secret **key, struct buf *certificate,
                                     struct coffer_error *err);
/* A new key and a certificate for a TLS server at `names`: DNS names and IP addresses, NULL at the
 * end, at most X509_NAMES_MAX.  FORMAT: the authority is not what x509_authority() wrote.
 * MISUSE: a name with characters that no name has. */
COFFER_MUST_CHECK int x509_server(struct bytes authority_key, struct bytes authority_certificate,
                                  const char *const *names, int64_t from, int64_t until,
                                  struct secret **key, struct buf *certificate,
                                  struct coffer_error *err);
/* When it ends.  FORMAT: no certificate in `pem`. */
COFFER_MUST_CHECK int x509_until(struct bytes pem, int64_t *until, struct coffer_error *err);
/* Was the certificate in `pem` (with its key in the same text) signed by this authority, does the
 * key belong to it, and does it hold for each of `names`?  AUTH: no, and why.  FORMAT. */
COFFER_MUST_CHECK int x509_server_check(struct bytes pem, struct bytes authority_certificate,
                                        const char *const *names, struct coffer_error *err);

#endif
