/* SPDX-License-Identifier: Apache-2.0 */
/* wrapped-passphrase files (ecryptfs-utils, src/libecryptfs/key_management.c,
 * ecryptfs_wrap_passphrase): the mount passphrase in AES-128-ECB under a key made from the login
 * passphrase.  The signature of that key is the check of the password. */
#include "volume/ecryptfs/internal.h"

#include "crypto/crypto.h"

#include <string.h>

#define VERSION 2
#define SIGNATURE_TEXT (2 * SIGNATURE_LEN)
#define WRAP_KEY_LEN 16
#define BLOCK 16

static int
malformed(struct coffer_error *err, const char *what)
{
    return error_set(err, COFFER_E_FORMAT, "not a wrapped-passphrase file: %s", what);
}

/* Version 2 begins with a colon; version 1 with the signature, in hex digits. */
static int
split(struct bytes file, struct bytes salt_of_v1, struct bytes *salt, struct bytes *signature,
      struct bytes *sealed, struct coffer_error *err)
{
    struct cursor c = cursor_of(file);

    *salt = salt_of_v1.len > 0 ? salt_of_v1 : ecryptfs_default_salt();
    if (file.len > 0 && file.ptr[0] == ':') {
        (void)cursor_u8(&c);
        if (cursor_u8(&c) != VERSION)
            return malformed(err, "its version is not 2");
        *salt = cursor_take(&c, SALT_LEN);
    }
    *signature = cursor_take(&c, SIGNATURE_TEXT);
    *sealed = cursor_take(&c, cursor_left(&c));
    if (c.bad || sealed->len == 0 || sealed->len % BLOCK != 0 ||
        sealed->len > ECRYPTFS_PASSPHRASE_MAX)
        return malformed(err, "of a length that none has");
    return COFFER_OK;
}

int
ecryptfs_unwrap(struct bytes file, struct bytes wrapping, struct bytes salt,
                struct secret **passphrase, struct coffer_error *err)
{
    uint8_t fekek[FEKEK_LEN], derived[SIGNATURE_LEN], wanted[SIGNATURE_LEN];
    uint8_t plain[ECRYPTFS_PASSPHRASE_MAX];
    struct bytes used, signature, sealed = {0};
    size_t len;
    int rc;

    *passphrase = NULL;
    rc = split(file, salt, &used, &signature, &sealed, err);
    if (rc != COFFER_OK)
        return rc;
    if (!hex_decode(signature, wanted, sizeof wanted, &len))
        return malformed(err, "no signature of hex digits");
    rc = fekek_derive(wrapping, used, fekek, derived, err);
    if (rc != COFFER_OK)
        goto out;
    if (!secret_equal(bytes_of(wanted, sizeof wanted), bytes_of(derived, sizeof derived))) {
        rc = error_set(err, COFFER_E_KEK, "the wrapping passphrase is wrong");
        goto out;
    }
    rc = block_ecb(BLOCK_AES, bytes_of(fekek, WRAP_KEY_LEN), false, sealed.ptr, plain, sealed.len,
                   err);
    if (rc != COFFER_OK)
        goto out;
    len = strnlen((char *)plain, sealed.len); /* no zero where it fits exactly */
    if (len == 0)
        rc = malformed(err, "it holds an empty passphrase");
    else
        rc = secret_copy(bytes_of(plain, len), passphrase, err);
out:
    wipe(fekek, sizeof fekek);
    wipe(plain, sizeof plain);
    return rc;
}

int
ecryptfs_wrap(struct bytes passphrase, struct bytes wrapping, struct buf *file,
              struct coffer_error *err)
{
    uint8_t fekek[FEKEK_LEN], signature[SIGNATURE_LEN], salt[SALT_LEN];
    uint8_t sealed[ECRYPTFS_PASSPHRASE_MAX] = {0};
    size_t len = (passphrase.len + BLOCK - 1) / BLOCK * BLOCK;
    char text[SIGNATURE_TEXT + 1];
    int rc;

    if (passphrase.len == 0 || passphrase.len > ECRYPTFS_PASSPHRASE_MAX ||
        memchr(passphrase.ptr, 0, passphrase.len) != NULL)
        return error_set(err, COFFER_E_LIMIT,
                         "a passphrase of 1 to %d bytes, none of them zero, can be wrapped",
                         ECRYPTFS_PASSPHRASE_MAX);
    rc = random_nonce(salt, sizeof salt, err);
    if (rc == COFFER_OK)
        rc = fekek_derive(wrapping, bytes_of(salt, sizeof salt), fekek, signature, err);
    if (rc != COFFER_OK)
        goto out;
    memcpy(sealed, passphrase.ptr, passphrase.len);
    rc = block_ecb(BLOCK_AES, bytes_of(fekek, WRAP_KEY_LEN), true, sealed, sealed, len, err);
    if (rc != COFFER_OK)
        goto out;
    hex_encode(bytes_of(signature, sizeof signature), text);
    buf_u8(file, ':');
    buf_u8(file, VERSION);
    buf_add(file, salt, sizeof salt);
    buf_str(file, text);
    buf_add(file, sealed, len);
    rc = buf_status(file, err);
out:
    wipe(fekek, sizeof fekek);
    wipe(sealed, sizeof sealed);
    return rc;
}
