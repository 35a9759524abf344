/* SPDX-License-Identifier: Apache-2.0 */
/* Routes of sign-in, and the stop. */
#include "daemon/auth_store.h"
#include "daemon/internal.h"

#include <string.h>
#include <unistd.h>

/* A member that is text of 1 to `max` - 1 bytes; NULL `out` is set when it is missing and `needed` is not. */
static int
text_of(const json_t *body, const char *name, size_t max, bool needed, const char **out, struct coffer_error *err)
{
    const json_t *value = json_object_get(body, name);

    *out = json_string_value(value);
    if (value == NULL && !needed)
        return COFFER_OK;
    if (*out == NULL || (*out)[0] == '\0' || strlen(*out) >= max)
        return error_set(err, COFFER_E_FORMAT, "%s must be text of 1 to %zu bytes", name, max - 1);
    return COFFER_OK;
}

static int
only(const json_t *body, const char *const *names, struct coffer_error *err)
{
    for (void *i = json_object_iter((json_t *)(uintptr_t)body); i != NULL;
         i = json_object_iter_next((json_t *)(uintptr_t)body, i)) {
        const char *const *name = names;

        while (*name != NULL && strcmp(*name, json_object_iter_key(i)) != 0)
            name++;
        if (*name == NULL)
            return error_set(err, COFFER_E_FORMAT, "the member %s is not known here", json_object_iter_key(i));
    }
    return COFFER_OK;
}

static json_t *
session_json(const struct request *request)
{
    const struct session_ref *ref = &request->session;
    char expires[32];

    credential_time(ref->expires_us, expires);
    return json_pack("{s:s,s:s,s:o,s:o}", "who", request->caller.who, "role", role_name(request->caller.role), "csrf",
                     ref->kind == AUTH_SESSION ? json_string(ref->csrf) : json_null(), "expires",
                     ref->kind == AUTH_SOCKET ? json_null() : json_string(expires));
}

int
run_session_begin(struct request *request, json_t *body, json_t **reply, struct coffer_error *err)
{
    char session[AUTH_TOKEN_MAX], cookie[200];
    const char *token;
    int rc = only(body, (const char *const[]){"token", NULL}, err);

    if (rc == COFFER_OK)
        rc = text_of(body, "token", AUTH_TOKEN_MAX, true, &token, err);
    if (rc != COFFER_OK)
        return rc;
    rc = auth_sign_in(request->daemon->auth, token, session, &request->caller, &request->session, err);
    if (rc == COFFER_E_AUTH) {
        request_deny(request, err->message);
        return rc;
    }
    if (rc != COFFER_OK)
        return rc;
    reply_json(request, MHD_HTTP_OK, session_json(request));
    (void)snprintf(cookie, sizeof cookie, "coffer_session=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Strict%s", session,
                   SESSION_MS / 1000, request->daemon->tls ? "; Secure" : "");
    reply_header(request, "Set-Cookie", cookie);
    wipe(session, sizeof session);
    wipe(cookie, sizeof cookie);
    return COFFER_OK;
}

int
run_session_show(struct request *request, json_t *body, json_t **reply, struct coffer_error *err)
{
    *reply = session_json(request);
    return *reply == NULL ? error_nomem(err) : COFFER_OK;
}

int
run_session_end(struct request *request, json_t *body, json_t **reply, struct coffer_error *err)
{
    int rc;

    if (request->session.kind != AUTH_SESSION)
        return error_set(err, COFFER_E_MISUSE, "only a session can be signed out of");
    rc = auth_sign_out(request->daemon->auth, &request->session, request->caller.who, err);
    if (rc != COFFER_OK)
        return rc;
    reply_json(request, MHD_HTTP_OK, json_pack("{s:b}", "ended", 1));
    reply_header(request, "Set-Cookie", "coffer_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
    return COFFER_OK;
}

/* A custodian who could make a second one alone would be both of the two that a key's end needs. */
static int
role_of(const struct request *request, const json_t *body, enum deploy_role *role, struct coffer_error *err)
{
    const char *name = json_string_value(json_object_get(body, "role"));

    *role = role_parse(name);
    if (*role == ROLE_NONE)
        return error_set(err, COFFER_E_FORMAT, "role must be viewer, operator or custodian");
    if (*role == ROLE_CUSTODIAN && !request->local)
        return error_set(err, COFFER_E_REFUSED,
                         "who is a custodian is decided on the machine itself: coffer signin --role custodian --who NAME");
    return COFFER_OK;
}

int
run_signin(struct request *request, json_t *body, json_t **reply, struct coffer_error *err)
{
    enum deploy_role role = ROLE_NONE;
    const char *who = NULL;
    char link[400];
    int rc = only(body, (const char *const[]){"who", "role", NULL}, err);

    if (rc == COFFER_OK)
        rc = text_of(body, "who", KEYRING_NAME_MAX, true, &who, err);
    if (rc == COFFER_OK)
        rc = role_of(request, body, &role, err);
    if (rc == COFFER_OK)
        rc = daemon_link(request->daemon, request->caller.who, who, role, link, sizeof link, err);
    if (rc == COFFER_OK)
        *reply = json_pack("{s:s}", "link", link);
    wipe(link, sizeof link);
    return rc != COFFER_OK ? rc : *reply == NULL ? error_nomem(err) : COFFER_OK;
}

int
run_tokens(struct request *request, json_t *body, json_t **reply, struct coffer_error *err)
{
    return auth_tokens(request->daemon->auth, reply, err);
}

int
run_token_new(struct request *request, json_t *body, json_t **reply, struct coffer_error *err)
{
    const json_t *days = json_object_get(body, "days");
    enum deploy_role role = ROLE_NONE;
    const char *name = NULL;
    int rc = only(body, (const char *const[]){"name", "role", "days", NULL}, err);

    if (rc == COFFER_OK)
        rc = text_of(body, "name", 64, true, &name, err);
    if (rc == COFFER_OK)
        rc = role_of(request, body, &role, err);
    if (rc == COFFER_OK && days != NULL &&
        (!json_is_integer(days) || json_integer_value(days) < 1 || json_integer_value(days) > 3650))
        rc = error_set(err, COFFER_E_FORMAT, "days must be a number from 1 to 3650");
    if (rc != COFFER_OK)
        return rc;
    return auth_token_new(request->daemon->auth, request->caller.who, name, role,
                          days == NULL ? 90 : (unsigned)json_integer_value(days), reply, err);
}

int
run_token_end(struct request *request, json_t *body, json_t **reply, struct coffer_error *err)
{
    int rc = auth_token_end(request->daemon->auth, request->caller.who, request->word, err);

    if (rc == COFFER_OK)
        *reply = json_pack("{s:b}", "ended", 1);
    return rc;
}

int
run_stop(struct request *request, json_t *body, json_t **reply, struct coffer_error *err)
{
    const json_t *keep = json_object_get(body, "keep_databases");
    int rc = only(body, (const char *const[]){"keep_databases", NULL}, err);

    if (rc == COFFER_OK && keep != NULL && !json_is_boolean(keep))
        rc = error_set(err, COFFER_E_FORMAT, "keep_databases must be true or false");
    if (rc != COFFER_OK)
        return rc;
    *reply = json_pack("{s:b,s:i}", "stopping", 1, "pid", (int)getpid());
    daemon_ask_stop(request->daemon, !json_is_true(keep));
    return COFFER_OK;
}
