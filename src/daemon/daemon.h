/* SPDX-License-Identifier: Apache-2.0 */
/* cofferd: the HTTP API of a state folder, on its Unix socket for the command and on TCP for the dashboard; sign-in, events, metrics, pages.
 *
 * Routes, objects and roles: docs/API.md, served as OpenAPI at /api/v1/openapi.json.  On the Unix socket the caller is whoever the kernel
 * says (SO_PEERCRED): root and the folder's owner have every role.  On TCP: a session cookie (from a one-time link) with a CSRF
 * token for what changes things, or a bearer token.  Loopback without TLS; any other address with TLS only.
 */
#ifndef COFFER_DAEMON_DAEMON_H
#define COFFER_DAEMON_DAEMON_H

#include "deploy/deploy.h"

struct daemon;

struct daemon_options {
    const char *http;      /* "127.0.0.1:0" (0: a free port); NULL: no TCP */
    const char *tls_cert, *tls_key; /* PEM files; needed beyond loopback (REFUSED without) */
    void (*log)(void *arg, const char *line);
    void *arg;
};
COFFER_MUST_CHECK int daemon_start(struct deploy *deploy, const struct daemon_options *options, struct daemon **out, struct coffer_error *err);
/* "http://127.0.0.1:40123"; "" without TCP.  Also in DIR/url. */
const char *daemon_url(const struct daemon *daemon);
/* A link for one sign-in, valid 10 minutes: URL/signin#TOKEN (in the fragment: it is in no log). */
COFFER_MUST_CHECK int daemon_signin_link(struct daemon *daemon, const char *who, enum deploy_role role, char *out, size_t max,
                                         struct coffer_error *err);
/* Blocks until somebody asked for a stop (`coffer stop`, SIGTERM by way of daemon_ask_stop()). True: stop the databases, too. */
bool daemon_wait(struct daemon *daemon);
void daemon_ask_stop(struct daemon *daemon, bool databases); /* async-signal-safe */
void daemon_stop(struct daemon *daemon);

#endif
