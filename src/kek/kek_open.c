/* SPDX-License-Identifier: Apache-2.0 */
/* KEK providers by URI.
 *
 * No message here repeats the URI where people mistake it for the place of the secret itself:
 * `passphrase:correct horse` is a file name to us, and a passphrase to whoever typed it.
 */
#include "kek/kek_open.h"

#include "base/mem.h"
#include "crypto/crypto.h"

#include <string.h>

#define KNOWN "file:PATH (32 random bytes), passphrase: (asks) and passphrase:FILE (its first line)"
#define SECRET_FILE_MAX 3999
#define KEY_FILE_MODE 0600

enum scheme { SCHEME_FILE, SCHEME_PASSPHRASE };

static int
parse_uri(const char *uri, enum scheme *scheme, const char **rest, struct coffer_error *err)
{
    static const struct {
        const char *prefix;
        enum scheme scheme;
    } schemes[] = {{"file:", SCHEME_FILE}, {"passphrase:", SCHEME_PASSPHRASE}};

    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        size_t len = strlen(schemes[i].prefix);

        if (strncmp(uri, schemes[i].prefix, len) != 0)
            continue;
        *scheme = schemes[i].scheme;
        *rest = uri + len;
        if (*scheme == SCHEME_FILE && **rest == '\0')
            return error_set(err, COFFER_E_MISUSE,
                             "file: names no key file; known KEKs are " KNOWN);
        return COFFER_OK;
    }
    return error_set(err, COFFER_E_MISUSE,
                     "this names no KEK that this release knows; they are " KNOWN);
}

/* ---- file:PATH ---- */

static int
open_key_file(const char *path, const struct os *os, struct kek **out, struct coffer_error *err)
{
    struct secret *key = NULL;
    int rc;

    rc = os->read_secret(os, path, SECRET_FILE_MAX, &key, err);
    if (rc == COFFER_E_LIMIT)
        return error_set(err, COFFER_E_FORMAT,
                         "%s is no key file: it holds more than %d bytes, not %d", path,
                         SECRET_FILE_MAX, KEK_KEY_LEN);
    if (rc != COFFER_OK)
        return rc;
    if (secret_len(key) != KEK_KEY_LEN)
        rc = error_set(err, COFFER_E_FORMAT, "%s is no key file: it holds %zu bytes, not %d", path,
                       secret_len(key), KEK_KEY_LEN);
    else
        rc = kek_key_new(secret_expose(key), out, err);
    secret_free(key);
    return rc;
}

/* ---- passphrase:FILE ---- */

static struct bytes
first_line(struct bytes content)
{
    const uint8_t *end = memchr(content.ptr, '\n', content.len);

    if (end != NULL)
        content.len = (size_t)(end - content.ptr);
    if (content.len > 0 && content.ptr[content.len - 1] == '\r')
        content.len--;
    return content;
}

static int
open_passphrase_file(const char *path, const struct os *os, struct kek **out,
                     struct coffer_error *err)
{
    struct secret *content = NULL;
    struct bytes line;
    int rc;

    rc = os->read_secret(os, path, SECRET_FILE_MAX, &content, err);
    if (rc == COFFER_E_NOTFOUND)
        return error_set(
            err, rc,
            "the file that passphrase: names is not there (a passphrase itself is never "
            "given here: leave it away to be asked)");
    if (rc != COFFER_OK)
        return rc;
    line = first_line(secret_expose(content));
    if (line.len == 0)
        rc = error_set(err, COFFER_E_FORMAT, "the first line of %s is empty: no passphrase", path);
    else
        rc = kek_passphrase_new(line, out, err);
    secret_free(content);
    return rc;
}

/* ---- passphrase: ---- */

struct prompted {
    kek_prompt prompt;
    void *arg;
    struct kek *answered; /* NULL until asked */
};

static int
ask(struct kek *kek, bool confirm, struct coffer_error *err)
{
    struct prompted *prompted = kek->ctx;
    struct secret *answer = NULL;
    int rc;

    if (prompted->answered != NULL)
        return COFFER_OK;
    rc = prompted->prompt(prompted->arg,
                          confirm ? "New passphrase of the keyring" : "Passphrase of the keyring",
                          confirm, &answer, err);
    if (rc == COFFER_OK)
        rc = kek_passphrase_new(secret_expose(answer), &prompted->answered, err);
    secret_free(answer);
    return rc;
}

static int
prompted_create(struct kek *kek, struct buf *params, struct secret **root, struct coffer_error *err)
{
    struct prompted *prompted = kek->ctx;
    int rc;

    *root = NULL;
    rc = ask(kek, true, err);
    if (rc != COFFER_OK)
        return rc;
    return prompted->answered->create(prompted->answered, params, root, err);
}

static int
prompted_unlock(struct kek *kek, struct bytes params, struct secret **root,
                struct coffer_error *err)
{
    struct prompted *prompted = kek->ctx;
    int rc;

    *root = NULL;
    rc = ask(kek, false, err);
    if (rc != COFFER_OK)
        return rc;
    return prompted->answered->unlock(prompted->answered, params, root, err);
}

static void
prompted_close(struct kek *kek)
{
    struct prompted *prompted = kek->ctx;

    kek_close(prompted->answered);
    mem_free(prompted);
    mem_free(kek);
}

static int
open_prompt(kek_prompt prompt, void *arg, struct kek **out, struct coffer_error *err)
{
    struct prompted *prompted;
    struct kek *kek;

    if (prompt == NULL)
        return error_set(
            err, COFFER_E_REFUSED,
            "there is no terminal to ask for the passphrase on: keep it in a file that "
            "only you can read, and give passphrase:FILE");
    prompted = mem_alloc(sizeof *prompted);
    kek = mem_alloc(sizeof *kek);
    if (prompted == NULL || kek == NULL) {
        mem_free(prompted);
        mem_free(kek);
        return error_nomem(err);
    }
    *prompted = (struct prompted){.prompt = prompt, .arg = arg};
    *kek = (struct kek){
        .kind = COFFER_KEK_PASSPHRASE,
        .create = prompted_create,
        .unlock = prompted_unlock,
        .close = prompted_close,
        .ctx = prompted,
    };
    *out = kek;
    return COFFER_OK;
}

int
kek_open(const char *uri, const struct os *os, kek_prompt prompt, void *prompt_arg,
         struct kek **out, struct coffer_error *err)
{
    enum scheme scheme = SCHEME_FILE;
    const char *rest = "";
    int rc;

    *out = NULL;
    rc = parse_uri(uri, &scheme, &rest, err);
    if (rc != COFFER_OK)
        return rc;
    if (scheme == SCHEME_FILE)
        return open_key_file(rest, os, out, err);
    if (*rest == '\0')
        return open_prompt(prompt, prompt_arg, out, err);
    return open_passphrase_file(rest, os, out, err);
}

int
kek_prepare(const char *uri, const struct os *os, bool *made, struct coffer_error *err)
{
    struct secret *key = NULL;
    enum scheme scheme = SCHEME_FILE;
    const char *rest = "";
    uint64_t stamp;
    int rc;

    *made = false;
    rc = parse_uri(uri, &scheme, &rest, err);
    if (rc != COFFER_OK || scheme != SCHEME_FILE)
        return rc;
    rc = os->stamp_file(os, rest, &stamp, err);
    if (rc != COFFER_OK || stamp != 0)
        return rc;
    rc = random_secret(KEK_KEY_LEN, &key, err);
    if (rc != COFFER_OK)
        return rc;
    rc = os->write_file(os, rest, secret_expose(key), KEY_FILE_MODE, true, err);
    if (rc == COFFER_OK)
        *made = true;
    else if (rc == COFFER_E_EXISTS) /* somebody made it meanwhile: theirs is as good */
        rc = COFFER_OK;
    secret_free(key);
    return rc;
}

/* ---- the secret itself, for a library that opens keyrings from bytes ---- */

int
kek_secret(const char *uri, const struct os *os, kek_prompt prompt, void *prompt_arg, int *kind,
           struct secret **out, struct coffer_error *err)
{
    struct secret *content = NULL;
    enum scheme scheme = SCHEME_FILE;
    const char *rest = "";
    int rc;

    *out = NULL;
    rc = parse_uri(uri, &scheme, &rest, err);
    if (rc != COFFER_OK)
        return rc;
    *kind = scheme == SCHEME_FILE ? COFFER_KEK_KEY : COFFER_KEK_PASSPHRASE;
    if (*rest == '\0') {
        if (prompt == NULL)
            return error_set(err, COFFER_E_REFUSED,
                             "there is no terminal to ask for the passphrase: use passphrase:FILE");
        return prompt(prompt_arg, "Passphrase of the keyring", false, out, err);
    }
    rc = os->read_secret(os, rest, SECRET_FILE_MAX, &content, err);
    if (rc == COFFER_OK)
        rc = secret_copy(scheme == SCHEME_FILE ? secret_expose(content)
                                               : first_line(secret_expose(content)),
                         out, err);
    secret_free(content);
    return rc;
}
