/* SPDX-License-Identifier: Apache-2.0 */
/* The ciphers that eCryptfs can name (fs/ecryptfs/crypto.c, ecryptfs_cipher_code_str_map). */
#include "volume/ecryptfs/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct cipher CIPHERS[] = {
    {0x07, BLOCK_AES, "aes", {16}},
    {0x08, BLOCK_AES, "aes", {24}},
    {0x09, BLOCK_AES, "aes", {32}},
    {0x02, BLOCK_DES3, "des3_ede", {24}},
    {0x03, BLOCK_CAST5, "cast5", {16}},
    {0x04, BLOCK_BLOWFISH, "blowfish", {16, 24, 32, 40, 48, 56}},
    {0x0a, BLOCK_TWOFISH, "twofish", {16, 32}},
    {0x0b, BLOCK_CAST6, "cast6", {16, 32}},
};

const struct cipher *
cipher_of_code(uint8_t code)
{
    for (size_t i = 0; i < sizeof CIPHERS / sizeof CIPHERS[0]; i++)
        if (CIPHERS[i].code == code)
            return &CIPHERS[i];
    return NULL;
}

uint8_t
cipher_code_aes(unsigned key_bits)
{
    return key_bits == 128 ? 0x07 : key_bits == 192 ? 0x08 : 0x09;
}

bool
cipher_takes(const struct cipher *cipher, size_t key_len)
{
    for (const uint8_t *len = cipher->key_lens; *len != 0; len++)
        if (*len == key_len)
            return true;
    return false;
}

size_t
cipher_wrapped_len(const struct cipher *cipher, size_t key_len)
{
    size_t block = block_len(cipher->block);

    return (key_len + block - 1) / block * block;
}

void
cipher_text(const struct cipher *cipher, size_t key_len, char text[32])
{
    (void)snprintf(text, 32, "%s-%zu", cipher->name, key_len * 8);
}

const struct cipher *
cipher_of_text(const char *text, size_t *key_len)
{
    char candidate[32];

    for (size_t i = 0; i < sizeof CIPHERS / sizeof CIPHERS[0]; i++)
        for (const uint8_t *len = CIPHERS[i].key_lens; *len != 0; len++) {
            cipher_text(&CIPHERS[i], *len, candidate);
            if (strcmp(candidate, text) == 0) {
                *key_len = *len;
                return &CIPHERS[i];
            }
        }
    return NULL;
}

const char *
ecryptfs_cipher_text(const char *text)
{
    static const char *const TEXTS[] = {
        "aes-128",      "aes-192",      "aes-256",      "des3_ede-192", "cast5-128",
        "blowfish-128", "blowfish-192", "blowfish-256", "blowfish-320", "blowfish-384",
        "blowfish-448", "twofish-128",  "twofish-256",  "cast6-128",    "cast6-256",
    };

    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++)
        if (strcmp(TEXTS[i], text) == 0)
            return TEXTS[i];
    return NULL;
}

int
errno_of(int status)
{
    switch (status) {
    case COFFER_OK:
        return 0;
    case COFFER_E_NOMEM:
        return -ENOMEM;
    case COFFER_E_UNSUPPORTED:
        return -EOPNOTSUPP;
    default:
        return -EIO;
    }
}
