/* SPDX-License-Identifier: Apache-2.0 */
/* Passphrase to FEKEK and signature (ecryptfs-utils, src/libecryptfs/main.c,
 * generate_passphrase_sig), and a file's key under a FEKEK (fs/ecryptfs/keystore.c). */
#include "volume/ecryptfs/internal.h"

#include <errno.h>
#include <string.h>

#define ROUNDS 65536

struct bytes
ecryptfs_default_salt(void)
{
    static const uint8_t SALT[SALT_LEN] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77};

    return bytes_of(SALT, sizeof SALT);
}

struct bytes
ecryptfs_name_salt(void)
{
    return bytes_str("99887766");
}

int
fekek_derive(struct bytes passphrase, struct bytes salt, uint8_t fekek[FEKEK_LEN],
             uint8_t signature[SIGNATURE_LEN], struct coffer_error *err)
{
    uint8_t start[SALT_LEN + ECRYPTFS_PASSPHRASE_MAX], again[SHA512_LEN];
    int rc;

    if (passphrase.len == 0 || passphrase.len > ECRYPTFS_PASSPHRASE_MAX)
        return error_set(err, COFFER_E_LIMIT,
                         "an eCryptfs passphrase has 1 to %d bytes, this one %zu",
                         ECRYPTFS_PASSPHRASE_MAX, passphrase.len);
    if (salt.len != SALT_LEN)
        return error_set(err, COFFER_E_LIMIT, "an eCryptfs salt has %u bytes, this one %zu",
                         SALT_LEN, salt.len);
    memcpy(start, salt.ptr, SALT_LEN);
    memcpy(start + SALT_LEN, passphrase.ptr, passphrase.len);
    rc = sha512_rounds(bytes_of(start, SALT_LEN + passphrase.len), ROUNDS, fekek, err);
    if (rc == COFFER_OK)
        rc = sha512(bytes_of(fekek, FEKEK_LEN), again, err);
    if (rc == COFFER_OK)
        memcpy(signature, again, SIGNATURE_LEN);
    wipe(start, sizeof start);
    wipe(again, sizeof again);
    return rc;
}

int
key_set(struct bytes passphrase, struct bytes salt, struct volume_key *key,
        struct coffer_error *err)
{
    struct bytes used = salt.len > 0 ? salt : ecryptfs_default_salt();
    uint8_t signature[SIGNATURE_LEN];
    int rc;

    rc = secret_new(FEKEK_LEN + SALT_LEN, &key->secret, err);
    if (rc != COFFER_OK)
        return errno_of(rc);
    rc = fekek_derive(passphrase, used, secret_expose_mut(key->secret), signature, err);
    if (rc != COFFER_OK) {
        secret_free(key->secret);
        key->secret = NULL;
        return rc == COFFER_E_LIMIT ? -EINVAL : errno_of(rc);
    }
    memcpy(secret_expose_mut(key->secret) + FEKEK_LEN, used.ptr, SALT_LEN);
    hex_encode(bytes_of(signature, sizeof signature), key->name);
    return 0;
}

int
fekek_copy(const struct volume_key *key, struct fekek *out, struct coffer_error *err)
{
    size_t len;

    *out = (struct fekek){.id = key->id};
    if (key->secret == NULL || secret_len(key->secret) != FEKEK_LEN + SALT_LEN ||
        !hex_decode(bytes_str(key->name), out->signature, SIGNATURE_LEN, &len) ||
        len != SIGNATURE_LEN)
        return volume_fail(err, -EINVAL, "a key that eCryptfs's key_set() did not make");
    return errno_of(secret_copy(secret_expose(key->secret), &out->material, err));
}

void
fekek_wipe(struct fekek *key)
{
    secret_free(key->material);
    *key = (struct fekek){0};
}

struct bytes
fekek_key(const struct fekek *key, size_t key_len)
{
    return bytes_of(secret_expose(key->material).ptr, key_len);
}

struct bytes
fekek_salt(const struct fekek *key)
{
    return bytes_of(secret_expose(key->material).ptr + FEKEK_LEN, SALT_LEN);
}

int
fek_wrap(const struct fekek *key, const struct cipher *cipher, struct bytes fek, uint8_t *wrapped,
         struct coffer_error *err)
{
    size_t len = cipher_wrapped_len(cipher, fek.len);
    uint8_t padded[WRAPPED_FEK_MAX] = {0};
    int rc;

    memcpy(padded, fek.ptr, fek.len);
    rc = block_ecb(cipher->block, fekek_key(key, fek.len), true, padded, wrapped, len, err);
    wipe(padded, sizeof padded);
    return errno_of(rc);
}

int
fek_unwrap(const struct fekek *key, const struct cipher *cipher, size_t key_len,
           struct bytes wrapped, struct secret **fek, struct coffer_error *err)
{
    uint8_t padded[WRAPPED_FEK_MAX], over = 0;
    int rc;

    *fek = NULL;
    rc = errno_of(block_ecb(cipher->block, fekek_key(key, key_len), false, wrapped.ptr, padded,
                            wrapped.len, err));
    for (size_t i = key_len; rc == 0 && i < wrapped.len; i++)
        over |= padded[i];
    if (rc == 0 && over != 0)
        rc = volume_fail(err, -EBADMSG,
                         "the file's key is damaged: it does not end in zeros, as AES-192 has it");
    if (rc == 0)
        rc = errno_of(secret_copy(bytes_of(padded, key_len), fek, err));
    wipe(padded, sizeof padded);
    return rc;
}
