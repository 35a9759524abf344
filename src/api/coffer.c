/* SPDX-License-Identifier: Apache-2.0 */
/* A keyring in use: made, replaced by a newer one, freed. */
#include "api/internal.h"
#include "base/mem.h"

#include <string.h>

static int
unlock(const void *keyring, size_t keyring_len, int kek_kind, const void *secret, size_t secret_len,
       struct keyring **out, struct coffer_error *err)
{
    struct kek *kek = NULL;
    int rc;

    if (kek_kind == COFFER_KEK_KEY)
        rc = kek_key_new(bytes_of(secret, secret_len), &kek, err);
    else if (kek_kind == COFFER_KEK_PASSPHRASE)
        rc = kek_passphrase_new(bytes_of(secret, secret_len), &kek, err);
    else if (kek_kind == COFFER_KEK_ROOT)
        rc = kek_root_new(bytes_of(secret, secret_len), &kek, err);
    else
        rc = error_set(err, COFFER_E_MISUSE, "KEK kind %d is unknown", kek_kind);
    if (rc == COFFER_OK)
        rc = keyring_decode(bytes_of(keyring, keyring_len), kek, out, err);
    kek_close(kek);
    return rc;
}

static int
refuse_escrow(const struct keyring *keyring, struct coffer_error *err)
{
    if (!keyring_is_escrow(keyring))
        return COFFER_OK;
    return error_set(err, COFFER_E_FORMAT,
                     "this is an escrow file, which holds one key, not a keyring; bring its key in "
                     "with: coffer keyring import");
}

int
coffer_adopt(struct keyring **keyring, struct coffer **out, struct coffer_error *err)
{
    struct coffer *coffer = mem_alloc(sizeof *coffer);
    int rc;

    *out = NULL;
    if (coffer == NULL)
        return error_nomem(err);
    rc = snapshot_new(coffer, *keyring, &coffer->current, err);
    if (rc != COFFER_OK) {
        mem_free(coffer);
        return rc;
    }
    *keyring = NULL;
    (void)pthread_mutex_init(&coffer->lock, NULL);
    coffer_confirm(coffer);
    *out = coffer;
    return COFFER_OK;
}

int
coffer_new(const void *keyring, size_t keyring_len, int kek_kind, const void *secret,
           size_t secret_len, struct coffer **out, struct coffer_error *err)
{
    struct keyring *decoded = NULL;
    int rc;

    if (out == NULL)
        return error_set(err, COFFER_E_MISUSE, "coffer_new: out is NULL");
    *out = NULL;
    if (keyring == NULL || secret == NULL)
        return error_set(err, COFFER_E_MISUSE, "coffer_new: keyring or secret is NULL");
    rc = unlock(keyring, keyring_len, kek_kind, secret, secret_len, &decoded, err);
    if (rc == COFFER_OK)
        rc = refuse_escrow(decoded, err);
    if (rc == COFFER_OK)
        rc = coffer_adopt(&decoded, out, err);
    keyring_free(decoded);
    return rc;
}

void
coffer_free(struct coffer *coffer)
{
    if (coffer == NULL)
        return;
    while (coffer->columns != NULL) {
        struct coffer_column *column = coffer->columns;

        coffer->columns = column->next;
        mem_free(column);
    }
    snapshot_release(coffer->current);
    pthread_mutex_destroy(&coffer->lock);
    mem_free(coffer);
}

/* The table has room for more keys than a keyring has with material at one time; beyond it counts
 * stay where they are. */
void
keep_use(struct coffer *coffer, struct codec *codec)
{
    struct coffer_use use[USE_MAX];
    size_t n, i, j;

    n = codec_take_use(codec, use, USE_MAX - coffer->past_count);
    if (n > USE_MAX - coffer->past_count)
        n = USE_MAX - coffer->past_count;
    for (i = 0; i < n; i++) {
        for (j = 0; j < coffer->past_count && coffer->past[j].key_id != use[i].key_id; j++)
            ;
        if (j == coffer->past_count)
            coffer->past[coffer->past_count++] = (struct coffer_use){.key_id = use[i].key_id};
        coffer->past[j].seals += use[i].seals;
        coffer->past[j].opens += use[i].opens;
    }
}

int
coffer_update(struct coffer *coffer, const void *keyring, size_t keyring_len,
              struct coffer_error *err)
{
    struct snapshot *held, *next = NULL, *old = NULL;
    struct keyring *decoded = NULL;
    struct uuid mine, theirs;
    int rc;

    if (coffer == NULL || keyring == NULL)
        return error_set(err, COFFER_E_MISUSE, "coffer_update: NULL argument");
    held = snapshot_hold(coffer);
    rc = keyring_decode_again(bytes_of(keyring, keyring_len), held->keyring, &decoded, err);
    if (rc == COFFER_OK)
        rc = refuse_escrow(decoded, err);
    if (rc == COFFER_OK) {
        mine = keyring_id(held->keyring);
        theirs = keyring_id(decoded);
        if (!uuid_equal(&mine, &theirs))
            rc = error_set(err, COFFER_E_ROLLBACK, "this is another keyring than the one in use");
        else if (keyring_epoch(decoded) < keyring_epoch(held->keyring))
            rc = error_set(err, COFFER_E_ROLLBACK,
                           "this keyring is at epoch %llu, the one in use at %llu",
                           (unsigned long long)keyring_epoch(decoded),
                           (unsigned long long)keyring_epoch(held->keyring));
    }
    if (rc == COFFER_OK)
        rc = snapshot_new(coffer, decoded, &next, err);
    if (rc != COFFER_OK) {
        keyring_free(decoded);
        snapshot_release(held);
        return rc;
    }
    pthread_mutex_lock(&coffer->lock);
    if (keyring_epoch(coffer->current->keyring) <=
        keyring_epoch(decoded)) { /* another thread may have brought a newer one */
        old = coffer->current;
        coffer->current = next;
        next = NULL;
    }
    pthread_mutex_unlock(&coffer->lock);
    snapshot_release(old);
    snapshot_release(next);
    snapshot_release(held);
    coffer_confirm(coffer);
    return COFFER_OK;
}

uint64_t
coffer_epoch(const struct coffer *coffer)
{
    struct snapshot *held = snapshot_hold((struct coffer *)(uintptr_t)coffer);
    uint64_t epoch = keyring_epoch(held->keyring);

    snapshot_release(held);
    return epoch;
}

size_t
coffer_take_use(struct coffer *coffer, struct coffer_use *use, size_t max)
{
    size_t n, taken;

    if (coffer == NULL || (use == NULL && max > 0))
        return 0;
    pthread_mutex_lock(&coffer->lock);
    keep_use(coffer, coffer->current->codec);
    n = coffer->past_count;
    taken = n < max ? n : max;
    if (taken > 0) {
        memcpy(use, coffer->past, taken * sizeof *use);
        memmove(coffer->past, coffer->past + taken, (n - taken) * sizeof *use);
        coffer->past_count = n - taken; /* the rest waits for the next call */
    }
    pthread_mutex_unlock(&coffer->lock);
    return n;
}

int
coffer_envelope_parse(const void *cell, size_t len, struct coffer_envelope_info *info)
{
    if (info == NULL || (cell == NULL && len > 0))
        return COFFER_E_MISUSE;
    return envelope_parse(bytes_of(cell, len), info, NULL);
}
