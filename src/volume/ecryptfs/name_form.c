/* SPDX-License-Identifier: Apache-2.0 */
/* The forms that a volume's names stand in: one while nothing changes; while name keys are changed,
 * or names come to be encrypted or no longer are, the former ones beside it. */
#include "volume/ecryptfs/internal.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>

#define CIPHERS_MAX (1 + VOLUME_FORMER_CIPHERS)

struct name_cipher {
    const struct cipher *cipher;
    size_t key_len;
};

/* The filler of names is MD5 of the whole FNEK, then MD5 of that; no zero may be in it, since a zero
 * ends it. */
static int
make_filler(struct name_key *key, struct coffer_error *err)
{
    uint8_t *filler = key->filler;
    int rc = md5(fekek_key(&key->fekek, FEKEK_LEN), filler, err);

    if (rc == COFFER_OK)
        rc = md5(bytes_of(filler, MD5_LEN), filler + MD5_LEN, err);
    for (size_t i = 0; i < NAME_FILLER_MAX; i++)
        if (filler[i] == 0)
            filler[i] = 0x42;
    return errno_of(rc);
}

/* The present cipher of names, then the former ones. */
static int
take_ciphers(const struct volume_options *options, struct name_cipher *out, size_t *count,
             struct coffer_error *err)
{
    unsigned bits = options->name_key_bits > 0 ? options->name_key_bits : options->key_bits;
    const char *texts[CIPHERS_MAX] = {options->name_cipher};

    if (bits != 128 && bits != 192 && bits != 256)
        return volume_fail(err, -EINVAL, "a key of %u bits: AES takes 128, 192 or 256", bits);
    out[0] = (struct name_cipher){cipher_of_code(cipher_code_aes(bits)), bits / 8};
    *count = 1;
    for (size_t i = 0; i < VOLUME_FORMER_CIPHERS; i++)
        texts[1 + i] = options->former_name_ciphers[i];
    for (size_t i = 0; i < CIPHERS_MAX; i++) {
        struct name_cipher *to = &out[i == 0 ? 0 : *count];

        if (texts[i] == NULL)
            continue;
        to->cipher = cipher_of_text(texts[i], &to->key_len);
        if (to->cipher == NULL)
            return volume_fail(err, -EINVAL, "names under %s: eCryptfs has no such cipher",
                               texts[i]);
        if (i > 0 && (to->cipher != out[0].cipher || to->key_len != out[0].key_len))
            ++*count;
    }
    return 0;
}

/* The present cipher under every key, then the others under every key; and plain where it belongs. */
static void
list_forms(struct naming *naming, const struct name_cipher *ciphers, size_t cipher_count,
           bool encrypted, bool mixed)
{
    struct name_form *at = naming->forms;

    if (!encrypted)
        *at++ = (struct name_form){0};
    for (size_t c = 0; (encrypted || mixed) && c < cipher_count; c++)
        for (size_t k = 0; k < naming->key_count; k++)
            *at++ = (struct name_form){&naming->keys[k], ciphers[c].cipher, ciphers[c].key_len};
    if (encrypted && mixed)
        *at++ = (struct name_form){0};
    naming->form_count = (size_t)(at - naming->forms);
}

void
naming_wipe(struct naming *naming)
{
    for (size_t i = 0; naming->keys != NULL && i < naming->key_count; i++)
        fekek_wipe(&naming->keys[i].fekek);
    if (naming->keys != NULL)
        wipe(naming->keys, naming->key_count * sizeof *naming->keys);
    mem_free(naming->keys);
    mem_free(naming->forms);
    *naming = (struct naming){0};
}

int
naming_make(const struct volume_options *options, const struct volume_key *keys, size_t count,
            struct naming *out, struct coffer_error *err)
{
    struct name_cipher ciphers[CIPHERS_MAX];
    size_t cipher_count = 0;
    int rc = take_ciphers(options, ciphers, &cipher_count, err);

    *out = (struct naming){0};
    if (rc != 0)
        return rc;
    out->keys = mem_array(count, sizeof *out->keys);
    out->forms = mem_array(count * cipher_count + 1, sizeof *out->forms);
    if (out->keys == NULL || out->forms == NULL)
        rc = volume_fail(err, -ENOMEM, "out of memory");
    for (size_t i = 0; rc == 0 && i < count; i++) {
        out->key_count = i + 1;
        rc = fekek_copy(&keys[i], &out->keys[i].fekek, err);
        if (rc == 0)
            rc = make_filler(&out->keys[i], err);
    }
    if (rc == 0)
        list_forms(out, ciphers, cipher_count, options->encrypt_names, options->mixed_names);
    else
        naming_wipe(out);
    return rc;
}
