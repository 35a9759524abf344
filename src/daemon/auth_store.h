/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials on disk: table daemon_credentials of state.db (docs/FORMAT.md, "State of cofferd"), and the audit log's entries. */
#ifndef COFFER_DAEMON_AUTH_STORE_H
#define COFFER_DAEMON_AUTH_STORE_H

#include "deploy/deploy.h"

enum { CREDENTIAL_LINK = 1, CREDENTIAL_SESSION = 2, CREDENTIAL_TOKEN = 3 }; /* as stored */

struct credential {
    int kind;
    uint8_t hash[32]; /* SHA-256 of the token */
    char id[9];
    char who[KEYRING_NAME_MAX]; /* of a bearer token: its name */
    enum deploy_role role;
    int64_t made_us, seen_us, expires_us;
    int64_t noted_us; /* what of seen_us is on disk */
};

/* Makes the table at the first time.  `*out` is the caller's, mem_free() it. */
COFFER_MUST_CHECK int credentials_load(struct deploy *deploy, size_t max, struct credential **out, size_t *count,
                                       struct coffer_error *err);
COFFER_MUST_CHECK int credential_add(struct deploy *deploy, const struct credential *credential, struct coffer_error *err);
int credential_remove(struct deploy *deploy, const uint8_t hash[32], struct coffer_error *err);
int credential_seen(struct deploy *deploy, const struct credential *credential, struct coffer_error *err);
/* An entry of the keyring's audit log; takes `details` (may be NULL). */
int credential_audit(struct deploy *deploy, const struct os *os, const char *who, const char *event, json_t *details,
                     struct coffer_error *err);
void credential_time(int64_t us, char out[32]); /* ISO 8601, UTC */

#endif
