/* SPDX-License-Identifier: Apache-2.0 */
/* A small authority of our own, and the certificates of servers that it signs.
 *
 *   DIR/authority.pem   its certificate and key, 0600: one file, so that they never part
 *   DIR/ca.crt          its certificate alone, 0644: what clients check servers by
 *   FOLDER/server.pem   a server's certificate and key, 0600
 *   FOLDER/ca.crt       a copy
 *
 * An authority holds for 20 years, a server's certificate for 2; that is made anew, with a new key, in its last 60 days.
 * Each file is replaced as a whole, so that a server that starts meanwhile has one certificate or the other.
 */
#ifndef COFFER_DEPLOY_TLS_H
#define COFFER_DEPLOY_TLS_H

#include "base/os.h"

#include <sys/types.h>

#define TLS_SERVER_FILE "server.pem"
#define TLS_CA_FILE "ca.crt"

/* The authority in `dir`, made (with the folder) when there is none.  FORMAT: authority.pem is damaged; it is left as it is. */
COFFER_MUST_CHECK int tls_authority(const struct os *os, const char *dir, struct coffer_error *err);

/* A certificate in `folder` for localhost, 127.0.0.1, ::1, this host's name, and `listen` where it is an address of its own (NULL, "": none),
 * signed by the authority in `dir`, which is made when there is none.  One that is still good stays; `*renewed` (NULL allowed) says that it is new and
 * the server has to be told.  The files belong to `uid` and `gid` (0 and 0: to the caller). */
COFFER_MUST_CHECK int tls_server(const struct os *os, const char *dir, const char *folder,
                                 const char *listen, uid_t uid, gid_t gid, bool *renewed,
                                 struct coffer_error *err);

#endif
