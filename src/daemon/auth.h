/* SPDX-License-Identifier: Apache-2.0 */
/* Who may: one-time links, sessions, bearer tokens, and the callers that guess.
 *
 * A credential is 32 random bytes, shown once; kept is its SHA-256, in memory and in table daemon_credentials of state.db,
 * so that sessions and tokens outlive a restart.  A hash cannot be used to sign in, and comparing hashes
 * tells a guesser nothing.  Any thread may call.
 */
#ifndef COFFER_DAEMON_AUTH_H
#define COFFER_DAEMON_AUTH_H

#include "deploy/deploy.h"

#define AUTH_TOKEN_MAX 64
#define LINK_MS (10 * 60 * 1000)
#define SESSION_IDLE_MS (30 * 60 * 1000)
#define SESSION_MS (12 * 60 * 60 * 1000)

struct auth;

enum auth_kind { AUTH_NONE, AUTH_SOCKET, AUTH_SESSION, AUTH_TOKEN };
/* How a request signed in; enough to ask later whether that still holds. */
struct session_ref {
    enum auth_kind kind;
    uint8_t hash[32];
    char csrf[44];
    int64_t expires_us; /* at the latest */
};

COFFER_MUST_CHECK int auth_open(struct deploy *deploy, const struct os *os, struct auth **out, struct coffer_error *err);
void auth_close(struct auth *auth);

/* The token of a link that signs in once, within LINK_MS. */
COFFER_MUST_CHECK int auth_link(struct auth *auth, const char *by, const char *who, enum deploy_role role,
                                char token[AUTH_TOKEN_MAX], struct coffer_error *err);
/* Turn a link into a session: `session` is the cookie.  AUTH: no such link, or it was used, or is too old. */
COFFER_MUST_CHECK int auth_sign_in(struct auth *auth, const char *token, char session[AUTH_TOKEN_MAX], struct deploy_caller *caller,
                                   struct session_ref *ref, struct coffer_error *err);
/* A session's cookie, or a bearer token.  AUTH. */
COFFER_MUST_CHECK int auth_check(struct auth *auth, enum auth_kind kind, const char *token, struct deploy_caller *caller,
                                 struct session_ref *ref, struct coffer_error *err);
/* Does it still hold?  Does not count as use. */
bool auth_holds(struct auth *auth, const struct session_ref *ref);
COFFER_MUST_CHECK int auth_sign_out(struct auth *auth, const struct session_ref *ref, const char *who, struct coffer_error *err);

/* Bearer tokens.  A name is for people; two may not bear the same. */
COFFER_MUST_CHECK int auth_token_new(struct auth *auth, const char *by, const char *name, enum deploy_role role, unsigned days,
                                     json_t **out, struct coffer_error *err); /* {"id","token"} */
COFFER_MUST_CHECK int auth_token_end(struct auth *auth, const char *by, const char *id, struct coffer_error *err);
COFFER_MUST_CHECK int auth_tokens(struct auth *auth, json_t **out, struct coffer_error *err);

/* One more bad token from `address`; true: there were too many of them in the last minute (answer 429). */
bool auth_guessed(struct auth *auth, const char *address);
#define GUESSES_A_MINUTE 20

const char *role_name(enum deploy_role role);
enum deploy_role role_parse(const char *name); /* ROLE_NONE: no such role */

#endif
