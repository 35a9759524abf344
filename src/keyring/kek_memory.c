/* SPDX-License-Identifier: Apache-2.0 */
/* The two KEK providers that need no I/O: a key, and a passphrase (Argon2id).  docs/FORMAT.md
 * "Keyring v1", "Keys". */
#include "base/mem.h"
#include "crypto/crypto.h"
#include "keyring/internal.h"

#include <string.h>

#define ALGORITHM_ARGON2ID 1
#define SALT_LEN 16
/* Written today.  About half a second on a small server; the memory is what makes guessing on
 * graphics cards dear, and 128 MiB is what a container of the smallest size can still give for a
 * moment. */
#define PASSES_NEW 4
#define KIB_NEW (128u << 10)

const char *
kek_kind_name(uint16_t kind)
{
    switch (kind) {
    case COFFER_KEK_KEY:
        return "key file";
    case COFFER_KEK_PASSPHRASE:
        return "passphrase";
    default:
        return "KEK of a kind that this release does not know";
    }
}

void
kek_close(struct kek *kek)
{
    if (kek != NULL)
        kek->close(kek);
}

static void
memory_close(struct kek *kek)
{
    secret_free(kek->ctx);
    mem_free(kek);
}

static int
memory_new(struct bytes content, const struct kek *table, struct kek **out,
           struct coffer_error *err)
{
    struct secret *secret = NULL;
    struct kek *kek;
    int rc;

    rc = secret_copy(content, &secret, err);
    if (rc != COFFER_OK)
        return rc;
    kek = mem_alloc(sizeof *kek);
    if (kek == NULL) {
        secret_free(secret);
        return error_nomem(err);
    }
    *kek = *table;
    kek->ctx = secret;
    *out = kek;
    return COFFER_OK;
}

/* ---- a key ---- */

static int
key_create(struct kek *kek, struct buf *params, struct secret **root, struct coffer_error *err)
{
    (void)params; /* none */
    return secret_copy(secret_expose(kek->ctx), root, err);
}

static int
key_unlock(struct kek *kek, struct bytes params, struct secret **root, struct coffer_error *err)
{
    *root = NULL;
    if (params.len != 0)
        return error_set(err, COFFER_E_FORMAT,
                         "the keyring is under a key file, yet holds KEK parameters");
    return secret_copy(secret_expose(kek->ctx), root, err);
}

/* A root key that was unlocked before, so that no KDF runs twice.  It makes no keyring: with what
 * would that be opened? */
static int
root_create(struct kek *kek, struct buf *params, struct secret **root, struct coffer_error *err)
{
    (void)kek;
    (void)params;
    *root = NULL;
    return error_set(err, COFFER_E_MISUSE, "a root key opens a keyring, it makes none");
}

static int
root_unlock(struct kek *kek, struct bytes params, struct secret **root, struct coffer_error *err)
{
    (void)params;
    return secret_copy(secret_expose(kek->ctx), root, err);
}

int
kek_root_new(struct bytes root, struct kek **out, struct coffer_error *err)
{
    static const struct kek table = {
        .kind = COFFER_KEK_ROOT,
        .create = root_create,
        .unlock = root_unlock,
        .close = memory_close,
    };

    *out = NULL;
    if (root.len != ROOT_LEN)
        return error_set(err, COFFER_E_MISUSE, "a root key is %d bytes, not %zu", ROOT_LEN,
                         root.len);
    return memory_new(root, &table, out, err);
}

int
kek_key_new(struct bytes key, struct kek **out, struct coffer_error *err)
{
    static const struct kek table = {
        .kind = COFFER_KEK_KEY,
        .create = key_create,
        .unlock = key_unlock,
        .close = memory_close,
    };

    *out = NULL;
    if (key.len != KEK_KEY_LEN)
        return error_set(err, COFFER_E_MISUSE, "a key-encryption key is %d bytes, not %zu",
                         KEK_KEY_LEN, key.len);
    return memory_new(key, &table, out, err);
}

/* ---- a passphrase ---- */

static int
passphrase_create(struct kek *kek, struct buf *params, struct secret **root,
                  struct coffer_error *err)
{
    uint8_t salt[SALT_LEN];
    int rc;

    *root = NULL;
    rc = random_nonce(salt, sizeof salt, err); /* public: unique is enough */
    if (rc != COFFER_OK)
        return rc;
    buf_u8(params, ALGORITHM_ARGON2ID);
    buf_add(params, salt, sizeof salt);
    buf_be32(params, PASSES_NEW);
    buf_be32(params, KIB_NEW);
    rc = buf_status(params, err);
    if (rc != COFFER_OK)
        return rc;
    return argon2id(secret_expose(kek->ctx), salt, PASSES_NEW, KIB_NEW, ROOT_LEN, root, err);
}

static int
passphrase_unlock(struct kek *kek, struct bytes params, struct secret **root,
                  struct coffer_error *err)
{
    struct cursor c = cursor_of(params);
    struct bytes salt;
    uint32_t passes, kib;
    uint8_t algorithm;

    *root = NULL;
    algorithm = cursor_u8(&c);
    salt = cursor_take(&c, SALT_LEN);
    passes = cursor_be32(&c);
    kib = cursor_be32(&c);
    if (c.bad || cursor_left(&c) != 0)
        return error_set(err, COFFER_E_FORMAT,
                         "the keyring's passphrase parameters are %zu bytes, not %d", params.len,
                         PASSPHRASE_PARAMS_LEN);
    if (algorithm != ALGORITHM_ARGON2ID)
        return error_set(err, COFFER_E_FORMAT,
                         "the keyring's passphrase is hashed by algorithm %u, which this release "
                         "does not know: use a newer release",
                         algorithm);
    /* Before anything is computed: nothing is authenticated yet, and whoever can write the file
     * could ask for all memory and a year of time. */
    if (passes < ARGON2ID_PASSES_MIN || passes > ARGON2ID_PASSES_MAX || kib < ARGON2ID_KIB_MIN ||
        kib > ARGON2ID_KIB_MAX)
        return error_set(
            err, COFFER_E_LIMIT,
            "the keyring asks for %u passes of Argon2id over %u KiB; allowed are %d to "
            "%d over %u to %u KiB",
            passes, kib, ARGON2ID_PASSES_MIN, ARGON2ID_PASSES_MAX, ARGON2ID_KIB_MIN,
            ARGON2ID_KIB_MAX);
    return argon2id(secret_expose(kek->ctx), salt.ptr, passes, kib, ROOT_LEN, root, err);
}

int
kek_passphrase_new(struct bytes passphrase, struct kek **out, struct coffer_error *err)
{
    static const struct kek table = {
        .kind = COFFER_KEK_PASSPHRASE,
        .create = passphrase_create,
        .unlock = passphrase_unlock,
        .close = memory_close,
    };

    *out = NULL;
    if (passphrase.len == 0)
        return error_set(err, COFFER_E_MISUSE, "the passphrase is empty");
    if (passphrase.len > KEK_PASSPHRASE_MAX)
        return error_set(err, COFFER_E_LIMIT, "the passphrase is longer than %d bytes",
                         KEK_PASSPHRASE_MAX);
    if (!utf8_valid(passphrase))
        return error_set(err, COFFER_E_MISUSE, "the passphrase is not UTF-8");
    return memory_new(passphrase, &table, out, err);
}
