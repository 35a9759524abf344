/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/engines/tls.h"

#include "crypto/x509.h"
#include "deploy/engines/account.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY 86400
#define AUTHORITY_DAYS 7305
#define SERVER_DAYS 731
#define RENEW_DAYS 60
#define PEM_MAX 3999 /* what fits into a secret */

static int
path_in(char out[PATH_MAX], const char *folder, const char *name, struct coffer_error *err)
{
    if (snprintf(out, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX)
        return error_set(err, COFFER_E_LIMIT, "the path %.200s… is too long", folder);
    return COFFER_OK;
}

/* Certificate and key as one text, in secret memory. */
static int
join(const struct buf *certificate, const struct secret *key, struct secret **out,
     struct coffer_error *err)
{
    size_t len = certificate->len + secret_len(key);
    int rc = secret_new(len, out, err);

    if (rc != COFFER_OK)
        return rc;
    memcpy(secret_expose_mut(*out), certificate->ptr, certificate->len);
    memcpy(secret_expose_mut(*out) + certificate->len, secret_expose(key).ptr, secret_len(key));
    return COFFER_OK;
}

/* The first certificate block of `pem`. */
static struct bytes
certificate_of(struct bytes pem)
{
    static const char end[] = "-----END CERTIFICATE-----\n";
    const uint8_t *at = memmem(pem.ptr, pem.len, end, sizeof end - 1);

    return at != NULL ? bytes_of(pem.ptr, (size_t)(at - pem.ptr) + sizeof end - 1)
                      : bytes_of(NULL, 0);
}

static int
make_authority(const struct os *os, const char *path, struct coffer_error *err)
{
    struct secret *key = NULL, *both = NULL;
    struct buf certificate;
    char host[HOST_NAME_MAX + 1] = "", name[HOST_NAME_MAX + 32];
    int64_t now = os->now_us(os) / 1000000;
    int rc;

    (void)gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "Coffer on %.40s",
             host); /* a common name has at most 64 characters */
    buf_init(&certificate, PEM_MAX);
    rc = x509_authority(name, now - DAY, now + (int64_t)AUTHORITY_DAYS * DAY, &key, &certificate,
                        err);
    if (rc == COFFER_OK)
        rc = join(&certificate, key, &both, err);
    if (rc == COFFER_OK)
        rc = os->write_file(os, path, secret_expose(both), 0600, true, err);
    if (rc == COFFER_E_EXISTS)
        rc = COFFER_OK; /* somebody else made one meanwhile: that is it */
    secret_free(both);
    secret_free(key);
    buf_wipe(&certificate);
    return rc;
}

/* Read the authority; make it first when there is none. */
static int
load_authority(const struct os *os, const char *dir, struct secret **out, struct coffer_error *err)
{
    char path[PATH_MAX];
    int64_t until;
    int rc = path_in(path, dir, "authority.pem", err);

    if (rc == COFFER_OK)
        rc = os->make_folder(os, dir, 0755, err);
    if (rc != COFFER_OK)
        return rc;
    rc = os->read_secret(os, path, PEM_MAX, out, err);
    if (rc == COFFER_E_NOTFOUND) {
        rc = make_authority(os, path, err);
        if (rc == COFFER_OK)
            rc = os->read_secret(os, path, PEM_MAX, out, err);
    }
    if (rc == COFFER_OK)
        rc = x509_until(certificate_of(secret_expose(*out)), &until, err);
    if (rc == COFFER_E_FORMAT)
        (void)error_prefix(err,
                           "%s is damaged (bring it back from a copy, or move it away: servers "
                           "then get new certificates): ",
                           path);
    if (rc != COFFER_OK) {
        secret_free(*out);
        *out = NULL;
    }
    return rc;
}

/* Write `content` there unless it is there already. */
static int
put(const struct os *os, const char *path, struct bytes content, unsigned mode,
    struct coffer_error *err)
{
    struct buf old;
    bool same;

    buf_init(&old, PEM_MAX);
    same = os->read_file(os, path, PEM_MAX, &old, NULL) == COFFER_OK &&
           bytes_equal(buf_view(&old), content);
    buf_wipe(&old);
    return same ? COFFER_OK : os->write_file(os, path, content, mode, false, err);
}

static int
authority(const struct os *os, const char *dir, struct secret **out, struct coffer_error *err)
{
    char path[PATH_MAX];
    int rc = load_authority(os, dir, out, err);

    if (rc == COFFER_OK)
        rc = path_in(path, dir, TLS_CA_FILE, err);
    if (rc == COFFER_OK)
        rc = put(os, path, certificate_of(secret_expose(*out)), 0644, err);
    return rc;
}

int
tls_authority(const struct os *os, const char *dir, struct coffer_error *err)
{
    struct secret *it = NULL;
    int rc = authority(os, dir, &it, err);

    secret_free(it);
    return rc;
}

/* Still good: signed by this authority, for these names, and not near its end? */
static bool
still_good(const struct os *os, const char *path, struct bytes signer, const char *const *names)
{
    struct secret *pem = NULL;
    int64_t until = 0;
    bool good = os->read_secret(os, path, PEM_MAX, &pem, NULL) == COFFER_OK &&
                x509_server_check(secret_expose(pem), signer, names, NULL) == COFFER_OK &&
                x509_until(secret_expose(pem), &until, NULL) == COFFER_OK &&
                until - os->now_us(os) / 1000000 > (int64_t)RENEW_DAYS * DAY;

    secret_free(pem);
    return good;
}

static int
write_server(const struct os *os, const char *folder, struct bytes signer, const char *const *names,
             bool *renewed, struct coffer_error *err)
{
    struct secret *key = NULL, *both = NULL;
    struct buf certificate;
    char path[PATH_MAX];
    int64_t now = os->now_us(os) / 1000000;
    int rc = path_in(path, folder, TLS_CA_FILE, err);

    buf_init(&certificate, PEM_MAX);
    if (rc == COFFER_OK)
        rc = put(os, path, certificate_of(signer), 0644, err);
    if (rc == COFFER_OK)
        rc = path_in(path, folder, TLS_SERVER_FILE, err);
    if (rc != COFFER_OK || still_good(os, path, signer, names))
        goto out;
    rc = x509_server(signer, certificate_of(signer), names, now - DAY,
                     now + (int64_t)SERVER_DAYS * DAY, &key, &certificate, err);
    if (rc == COFFER_OK)
        rc = join(&certificate, key, &both, err);
    if (rc == COFFER_OK)
        rc = os->write_file(os, path, secret_expose(both), 0600, false, err);
    *renewed = rc == COFFER_OK;

out:
    secret_free(both);
    secret_free(key);
    buf_wipe(&certificate);
    return rc;
}

static bool
address_of_its_own(const char *listen)
{
    return listen != NULL && listen[0] != '\0' && strcmp(listen, "0.0.0.0") != 0 &&
           strcmp(listen, "::") != 0 && strcmp(listen, "*") != 0 &&
           strcmp(listen, "127.0.0.1") != 0 && strcmp(listen, "::1") != 0 &&
           strcmp(listen, "localhost") != 0;
}

/* A host may be called anything; a certificate cannot. */
static bool
plain_name(const char *host)
{
    return host[0] != '\0' &&
           host[strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")] ==
               '\0';
}

int
tls_server(const struct os *os, const char *dir, const char *folder, const char *listen, uid_t uid,
           gid_t gid, bool *renewed, struct coffer_error *err)
{
    const char *names[X509_NAMES_MAX + 1] = {"localhost", "127.0.0.1", "::1"};
    char host[HOST_NAME_MAX + 1] = "";
    struct secret *signer = NULL;
    struct account before;
    size_t n = 3;
    bool fresh = false;
    int rc;

    if (renewed != NULL)
        *renewed = false;
    if (gethostname(host, sizeof host - 1) == 0 && plain_name(host) &&
        strcmp(host, "localhost") != 0)
        names[n++] = host;
    if (address_of_its_own(listen))
        names[n++] = listen;
    rc = authority(os, dir, &signer, err);
    if (rc != COFFER_OK)
        goto out;
    account_enter(uid, gid, &before);
    rc = os->make_folder(os, folder, 0700, err);
    if (rc == COFFER_OK)
        rc = write_server(os, folder, secret_expose(signer), names, &fresh, err);
    account_leave(&before);
    if (renewed != NULL)
        *renewed = fresh;

out:
    secret_free(signer);
    return rc;
}
