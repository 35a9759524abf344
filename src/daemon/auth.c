/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/auth.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "daemon/auth_store.h"

#include <pthread.h>
#include <string.h>

#define CREDENTIALS_MAX 2000
#define ADDRESSES 64
#define SEEN_EVERY_US (60 * INT64_C(1000000)) /* how often use is written down */

struct guesses {
    char address[64];
    int64_t since_us;
    unsigned count;
};

struct auth {
    pthread_mutex_t mutex;
    struct deploy *deploy;
    const struct os *os;
    struct credential *all;
    size_t count;
    struct guesses guesses[ADDRESSES];
};

const char *
role_name(enum deploy_role role)
{
    static const char *const names[] = {"none", "viewer", "operator", "custodian"};

    return names[role <= ROLE_CUSTODIAN ? role : ROLE_NONE];
}

enum deploy_role
role_parse(const char *name)
{
    for (int role = ROLE_VIEWER; name != NULL && role <= ROLE_CUSTODIAN; role++) {
        if (strcmp(name, role_name((enum deploy_role)role)) == 0)
            return (enum deploy_role)role;
    }
    return ROLE_NONE;
}

static bool
too_old(const struct credential *c, int64_t now_us)
{
    return now_us >= c->expires_us || now_us < c->made_us - 60 * INT64_C(1000000) ||
           (c->kind == CREDENTIAL_SESSION && now_us >= c->seen_us + SESSION_IDLE_MS * INT64_C(1000));
}

/* With the mutex held, as all below. */
static struct credential *
find(struct auth *auth, int kind, const uint8_t hash[32])
{
    for (size_t i = 0; i < auth->count; i++) {
        if (auth->all[i].kind == kind && memcmp(auth->all[i].hash, hash, 32) == 0)
            return &auth->all[i];
    }
    return NULL;
}

static int
remove_one(struct auth *auth, struct credential *c, struct coffer_error *err)
{
    int rc = credential_remove(auth->deploy, c->hash, err);

    *c = auth->all[--auth->count]; /* ended here even if the disk is full: at worst it comes back with a restart, to expire then */
    return rc;
}

static void
remove_old(struct auth *auth, int64_t now_us)
{
    for (size_t i = 0; i < auth->count;) {
        if (too_old(&auth->all[i], now_us))
            (void)remove_one(auth, &auth->all[i], NULL);
        else
            i++;
    }
}

static int
add(struct auth *auth, const struct credential *c, struct coffer_error *err)
{
    struct credential *grown;
    int rc;

    remove_old(auth, auth->os->now_us(auth->os));
    if (auth->count >= CREDENTIALS_MAX)
        return error_set(err, COFFER_E_LIMIT, "there are %d links, sessions and tokens already; end some", CREDENTIALS_MAX);
    grown = mem_grow(auth->all, (auth->count + 1) * sizeof *grown);
    if (grown == NULL)
        return error_nomem(err);
    auth->all = grown;
    rc = credential_add(auth->deploy, c, err);
    if (rc == COFFER_OK)
        auth->all[auth->count++] = *c;
    return rc;
}

/* A new token, and the credential that it proves. */
static int
make(struct auth *auth, int kind, const char *prefix, const char *who, enum deploy_role role, int64_t life_ms,
     char token[AUTH_TOKEN_MAX], struct credential *out, struct coffer_error *err)
{
    int64_t now = auth->os->now_us(auth->os);
    struct secret *random = NULL;
    size_t len = strlen(prefix);
    int rc = random_secret(32, &random, err);

    *out = (struct credential){.kind = kind, .role = role, .made_us = now, .seen_us = now,
                               .expires_us = now + life_ms * 1000};
    (void)snprintf(out->who, sizeof out->who, "%s", who);
    if (rc == COFFER_OK) {
        memcpy(token, prefix, len);
        base64url_encode(secret_expose(random), token + len);
        token[len + base64url_encoded_len(32)] = '\0';
        rc = sha256(bytes_str(token), out->hash, err);
        hex_encode(bytes_of(out->hash, 4), out->id); /* to name it by; says nothing of the token */
    }
    secret_free(random);
    return rc;
}

static int
csrf_of(const char *session, char out[44], struct coffer_error *err)
{
    struct bytes label = bytes_str("coffer csrf v1");
    uint8_t mac[32];
    int rc = hmac_sha256(bytes_str(session), &label, 1, mac, err);

    if (rc == COFFER_OK) {
        base64url_encode(bytes_of(mac, 32), out);
        out[43] = '\0';
    }
    return rc;
}

static void
describe(const struct credential *c, enum auth_kind kind, struct deploy_caller *caller, struct session_ref *ref)
{
    caller->role = c->role;
    (void)snprintf(caller->who, sizeof caller->who, "%s", c->who);
    ref->kind = kind;
    memcpy(ref->hash, c->hash, 32);
    ref->expires_us = c->expires_us;
}

int
auth_link(struct auth *auth, const char *by, const char *who, enum deploy_role role, char token[AUTH_TOKEN_MAX],
          struct coffer_error *err)
{
    struct credential c;
    int rc = make(auth, CREDENTIAL_LINK, "", who, role, LINK_MS, token, &c, err);

    (void)pthread_mutex_lock(&auth->mutex);
    if (rc == COFFER_OK)
        rc = add(auth, &c, err);
    (void)pthread_mutex_unlock(&auth->mutex);
    if (rc == COFFER_OK)
        rc = credential_audit(auth->deploy, auth->os, by, "signin.link",
                              json_pack("{s:s,s:s}", "for", who, "role", role_name(role)), err);
    return rc;
}

int
auth_sign_in(struct auth *auth, const char *token, char session[AUTH_TOKEN_MAX], struct deploy_caller *caller,
             struct session_ref *ref, struct coffer_error *err)
{
    struct credential *link, c;
    uint8_t hash[32];
    int rc = sha256(bytes_str(token), hash, err);

    if (rc != COFFER_OK)
        return rc;
    (void)pthread_mutex_lock(&auth->mutex);
    remove_old(auth, auth->os->now_us(auth->os));
    link = find(auth, CREDENTIAL_LINK, hash);
    if (link == NULL) {
        rc = error_set(err, COFFER_E_AUTH, "the link was used already, or is older than ten minutes; `coffer signin` makes another");
    } else {
        rc = make(auth, CREDENTIAL_SESSION, "", link->who, link->role, SESSION_MS, session, &c, err);
        /* First it is gone, on disk too: a crash in between costs a link, never lets it be used twice. */
        if (rc == COFFER_OK)
            rc = remove_one(auth, link, err);
        if (rc == COFFER_OK)
            rc = add(auth, &c, err);
        if (rc == COFFER_OK) {
            describe(&c, AUTH_SESSION, caller, ref);
            rc = csrf_of(session, ref->csrf, err);
        }
    }
    (void)pthread_mutex_unlock(&auth->mutex);
    if (rc == COFFER_OK)
        rc = credential_audit(auth->deploy, auth->os, caller->who, "signin",
                              json_pack("{s:s}", "role", role_name(caller->role)), err);
    return rc;
}

int
auth_check(struct auth *auth, enum auth_kind kind, const char *token, struct deploy_caller *caller,
           struct session_ref *ref, struct coffer_error *err)
{
    int64_t now = auth->os->now_us(auth->os);
    struct credential *c;
    uint8_t hash[32];
    int rc = sha256(bytes_str(token), hash, err);

    if (rc != COFFER_OK)
        return rc;
    (void)pthread_mutex_lock(&auth->mutex);
    c = find(auth, kind == AUTH_SESSION ? CREDENTIAL_SESSION : CREDENTIAL_TOKEN, hash);
    if (c != NULL && too_old(c, now)) {
        (void)remove_one(auth, c, NULL);
        c = NULL;
    }
    if (c == NULL) {
        rc = error_set(err, COFFER_E_AUTH, "no such token");
    } else {
        describe(c, kind, caller, ref);
        c->seen_us = now;
        if (now >= c->noted_us + SEEN_EVERY_US) {
            c->noted_us = now;
            (void)credential_seen(auth->deploy, c, NULL); /* what a lost note costs is a shorter session after a crash */
        }
    }
    (void)pthread_mutex_unlock(&auth->mutex);
    if (rc == COFFER_OK && kind == AUTH_SESSION)
        rc = csrf_of(token, ref->csrf, err);
    return rc;
}

bool
auth_holds(struct auth *auth, const struct session_ref *ref)
{
    const struct credential *c;
    bool holds;

    if (ref->kind == AUTH_SOCKET)
        return true;
    (void)pthread_mutex_lock(&auth->mutex);
    c = find(auth, ref->kind == AUTH_SESSION ? CREDENTIAL_SESSION : CREDENTIAL_TOKEN, ref->hash);
    holds = c != NULL && !too_old(c, auth->os->now_us(auth->os));
    (void)pthread_mutex_unlock(&auth->mutex);
    return holds;
}

int
auth_sign_out(struct auth *auth, const struct session_ref *ref, const char *who, struct coffer_error *err)
{
    struct credential *c;
    int rc = COFFER_OK;

    (void)pthread_mutex_lock(&auth->mutex);
    c = find(auth, CREDENTIAL_SESSION, ref->hash);
    if (c != NULL)
        rc = remove_one(auth, c, err);
    (void)pthread_mutex_unlock(&auth->mutex);
    if (rc == COFFER_OK && c != NULL)
        rc = credential_audit(auth->deploy, auth->os, who, "signout", NULL, err);
    return rc;
}

int
auth_token_new(struct auth *auth, const char *by, const char *name, enum deploy_role role, unsigned days, json_t **out,
               struct coffer_error *err)
{
    char token[AUTH_TOKEN_MAX];
    struct credential c;
    int rc = make(auth, CREDENTIAL_TOKEN, "coffer_", name, role, (int64_t)days * 86400000, token, &c, err);

    *out = NULL;
    (void)pthread_mutex_lock(&auth->mutex);
    for (size_t i = 0; rc == COFFER_OK && i < auth->count; i++) {
        if (auth->all[i].kind == CREDENTIAL_TOKEN && strcmp(auth->all[i].who, c.who) == 0)
            rc = error_set(err, COFFER_E_EXISTS, "there is a token %s already", name);
    }
    if (rc == COFFER_OK)
        rc = add(auth, &c, err);
    (void)pthread_mutex_unlock(&auth->mutex);
    if (rc == COFFER_OK)
        rc = credential_audit(auth->deploy, auth->os, by, "token.create",
                              json_pack("{s:s,s:s,s:s,s:i}", "id", c.id, "name", name, "role", role_name(role), "days",
                                        (int)days),
                              err);
    if (rc == COFFER_OK) {
        *out = json_pack("{s:s,s:s}", "id", c.id, "token", token);
        if (*out == NULL)
            rc = error_nomem(err);
    }
    wipe(token, sizeof token);
    return rc;
}

int
auth_token_end(struct auth *auth, const char *by, const char *id, struct coffer_error *err)
{
    struct credential found = {0};
    int rc = COFFER_OK;

    (void)pthread_mutex_lock(&auth->mutex);
    for (size_t i = 0; i < auth->count && found.kind == 0; i++) {
        if (auth->all[i].kind == CREDENTIAL_TOKEN && strcmp(auth->all[i].id, id) == 0) {
            found = auth->all[i];
            rc = remove_one(auth, &auth->all[i], err);
        }
    }
    (void)pthread_mutex_unlock(&auth->mutex);
    if (found.kind == 0)
        return error_set(err, COFFER_E_NOTFOUND, "there is no token %s", id);
    if (rc == COFFER_OK)
        rc = credential_audit(auth->deploy, auth->os, by, "token.end", json_pack("{s:s,s:s}", "id", found.id, "name", found.who),
                              err);
    return rc;
}

int
auth_tokens(struct auth *auth, json_t **out, struct coffer_error *err)
{
    *out = json_array();
    (void)pthread_mutex_lock(&auth->mutex);
    remove_old(auth, auth->os->now_us(auth->os));
    for (size_t i = 0; i < auth->count; i++) {
        const struct credential *c = &auth->all[i];
        char made[32], expires[32];

        if (c->kind != CREDENTIAL_TOKEN)
            continue;
        credential_time(c->made_us, made);
        credential_time(c->expires_us, expires);
        (void)json_array_append_new(*out, json_pack("{s:s,s:s,s:s,s:s,s:s}", "id", c->id, "name", c->who, "role",
                                                    role_name(c->role), "created", made, "expires", expires));
    }
    (void)pthread_mutex_unlock(&auth->mutex);
    return *out == NULL ? error_nomem(err) : COFFER_OK;
}

bool
auth_guessed(struct auth *auth, const char *address)
{
    int64_t now = auth->os->now_us(auth->os);
    struct guesses *g = NULL;
    bool many, first;

    (void)pthread_mutex_lock(&auth->mutex);
    for (size_t i = 0; i < ADDRESSES; i++) {
        struct guesses *at = &auth->guesses[i];

        if (strcmp(at->address, address) == 0) {
            g = at;
            break;
        }
        if (g == NULL || at->since_us < g->since_us) /* the oldest makes room */
            g = at;
    }
    if (strcmp(g->address, address) != 0 || now - g->since_us >= 60 * INT64_C(1000000) || now < g->since_us) {
        g->since_us = now;
        g->count = 0;
        (void)snprintf(g->address, sizeof g->address, "%s", address);
    }
    if (g->count <= GUESSES_A_MINUTE)
        g->count++;
    many = g->count > GUESSES_A_MINUTE;
    first = g->count == 1;
    (void)pthread_mutex_unlock(&auth->mutex);
    if (first) /* once a minute and address: the log is not to be filled by whoever guesses */
        (void)credential_audit(auth->deploy, auth->os, "nobody", "signin.refused", json_pack("{s:s}", "address", address), NULL);
    return many;
}

int
auth_open(struct deploy *deploy, const struct os *os, struct auth **out, struct coffer_error *err)
{
    struct auth *auth = mem_alloc(sizeof *auth);
    int rc;

    *out = NULL;
    if (auth == NULL)
        return error_nomem(err);
    (void)pthread_mutex_init(&auth->mutex, NULL);
    auth->deploy = deploy;
    auth->os = os;
    rc = credentials_load(deploy, CREDENTIALS_MAX, &auth->all, &auth->count, err);
    if (rc == COFFER_OK)
        remove_old(auth, os->now_us(os));
    if (rc != COFFER_OK) {
        auth_close(auth);
        return rc;
    }
    *out = auth;
    return COFFER_OK;
}

void
auth_close(struct auth *auth)
{
    if (auth == NULL)
        return;
    mem_free(auth->all);
    (void)pthread_mutex_destroy(&auth->mutex);
    mem_free(auth);
}
