/* SPDX-License-Identifier: Apache-2.0 */
/* Columns of a keyring with their keys prepared: a small table from (column, key) to the derived
 * key, filled as it is asked. */
#include "field/codec.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    struct entry *next;
    struct uuid column;
    struct column_key *key;
};

struct use {
    struct use *next;
    uint32_t key_id;
    atomic_uint_fast64_t seals, opens;
};

#define BUCKETS 64

struct codec {
    const struct keyring *keyring;
    pthread_rwlock_t lock; /* of both tables; entries are only added, never changed */
    struct entry *entries[BUCKETS];
    struct use *uses;
};

int
codec_new(const struct keyring *kr, struct codec **out, struct coffer_error *err)
{
    struct codec *codec = mem_alloc(sizeof *codec);

    *out = NULL;
    if (codec == NULL)
        return error_nomem(err);
    codec->keyring = kr;
    (void)pthread_rwlock_init(&codec->lock, NULL);
    *out = codec;
    return COFFER_OK;
}

void
codec_free(struct codec *codec)
{
    size_t i;

    if (codec == NULL)
        return;
    for (i = 0; i < BUCKETS; i++) {
        while (codec->entries[i] != NULL) {
            struct entry *entry = codec->entries[i];

            codec->entries[i] = entry->next;
            column_key_free(entry->key);
            mem_free(entry);
        }
    }
    while (codec->uses != NULL) {
        struct use *use = codec->uses;

        codec->uses = use->next;
        mem_free(use);
    }
    pthread_rwlock_destroy(&codec->lock);
    mem_free(codec);
}

void
codec_def(const struct keyring_column *column, struct field_def *def)
{
    *def = (struct field_def){
        .type = column->type,
        .binding = column->binding,
        .suite = column->suite,
        .pad = column->pad,
        .text_form = column->text_form,
    };
    memcpy(def->column_id, column->id.b, sizeof def->column_id);
}

static unsigned
bucket_of(const struct uuid *column, uint32_t key_id)
{
    return (get_be32(column->b) ^ key_id) % BUCKETS; /* both are random */
}

static struct entry *
look_up(struct codec *codec, const struct uuid *column, uint32_t key_id)
{
    struct entry *entry = codec->entries[bucket_of(column, key_id)];

    while (entry != NULL &&
           (column_key_id(entry->key) != key_id || !uuid_equal(&entry->column, column)))
        entry = entry->next;
    return entry;
}

static struct use *
look_up_use(struct codec *codec, uint32_t key_id)
{
    struct use *use = codec->uses;

    while (use != NULL && use->key_id != key_id)
        use = use->next;
    return use;
}

/* Under the write lock. */
static int
add_entry(struct codec *codec, const struct uuid *column, uint32_t key_id, struct entry **out,
          struct coffer_error *err)
{
    const struct secret *material = keyring_material(codec->keyring, key_id);
    const struct keyring_key *info = keyring_key(codec->keyring, key_id);
    struct entry *entry;
    struct use *use;
    unsigned bucket = bucket_of(column, key_id);
    int rc;

    if (info == NULL || info->purpose != KEY_FIELD)
        return error_set(
            err, COFFER_E_KEY,
            "the keyring holds no key %08x; is it another installation's, or older than the key?",
            key_id);
    if (material == NULL)
        return error_set(err, COFFER_E_KEY, "key %08x is %s and no longer in the keyring", key_id,
                         key_state_name(info->state));
    entry = mem_alloc(sizeof *entry);
    use = look_up_use(codec, key_id);
    if (entry != NULL && use == NULL && (use = mem_alloc(sizeof *use)) != NULL) {
        use->key_id = key_id;
        use->next = codec->uses;
        codec->uses = use;
    }
    if (entry == NULL || use == NULL) {
        mem_free(entry);
        return error_nomem(err);
    }
    rc = column_key_new(material, key_id, column->b, &entry->key, err);
    if (rc != COFFER_OK) {
        mem_free(entry);
        return rc;
    }
    entry->column = *column;
    entry->next = codec->entries[bucket];
    codec->entries[bucket] = entry;
    *out = entry;
    return COFFER_OK;
}

static int
key_for(struct codec *codec, const struct uuid *column, uint32_t key_id,
        const struct column_key **key, struct use **use, struct coffer_error *err)
{
    struct entry *entry;
    int rc = COFFER_OK;

    pthread_rwlock_rdlock(&codec->lock);
    entry = look_up(codec, column, key_id);
    *use = entry != NULL ? look_up_use(codec, key_id) : NULL;
    pthread_rwlock_unlock(&codec->lock);
    if (entry == NULL) {
        pthread_rwlock_wrlock(&codec->lock);
        entry = look_up(codec, column, key_id);
        if (entry == NULL)
            rc = add_entry(codec, column, key_id, &entry, err);
        *use = rc == COFFER_OK ? look_up_use(codec, key_id) : NULL;
        pthread_rwlock_unlock(&codec->lock);
    }
    *key = rc == COFFER_OK ? entry->key : NULL;
    return rc;
}

int
codec_seal(struct codec *codec, const struct keyring_column *column, uint32_t key_id,
           const struct coffer_place *place, const struct coffer_value *value, uint8_t *out,
           size_t out_max, size_t *out_len, struct coffer_error *err)
{
    const struct column_key *key;
    struct field_def def;
    struct use *use;
    int rc;

    *out_len = 0;
    if (key_id == 0) {
        const struct keyring_key *active = keyring_active(codec->keyring, KEY_FIELD, column->line);

        if (active == NULL)
            return error_set(err, COFFER_E_KEY, "line %s has no active key", column->line);
        key_id = active->id;
    }
    rc = key_for(codec, &column->id, key_id, &key, &use, err);
    if (rc != COFFER_OK)
        return rc;
    codec_def(column, &def);
    rc = field_seal(&def, key, place, value, NULL, out, out_max, out_len, err);
    if (rc == COFFER_OK)
        atomic_fetch_add_explicit(&use->seals, 1, memory_order_relaxed);
    return rc;
}

int
codec_open(struct codec *codec, const struct keyring_column *column,
           const struct coffer_place *place, struct bytes cell, uint8_t *out, size_t out_max,
           struct coffer_value *value, uint32_t *key_id, struct coffer_error *err)
{
    const struct column_key *key;
    struct field_def def;
    struct use *use;
    uint32_t id = 0;
    int rc;

    *value = (struct coffer_value){0};
    codec_def(column, &def);
    rc = field_key_id(&def, cell, &id, err);
    if (key_id != NULL)
        *key_id = id;
    if (rc == COFFER_OK)
        rc = key_for(codec, &column->id, id, &key, &use, err);
    if (rc == COFFER_OK)
        rc = field_open(&def, key, place, cell, out, out_max, value, err);
    if (rc == COFFER_OK)
        atomic_fetch_add_explicit(&use->opens, 1, memory_order_relaxed);
    return rc;
}

size_t
codec_take_use(struct codec *codec, struct coffer_use *out, size_t max)
{
    struct use *use;
    size_t n = 0;

    pthread_rwlock_rdlock(&codec->lock);
    for (use = codec->uses; use != NULL; use = use->next) {
        if (atomic_load(&use->seals) == 0 && atomic_load(&use->opens) == 0)
            continue;
        if (n < max) { /* what does not fit stays counted, for the next take */
            out[n].key_id = use->key_id;
            out[n].seals = atomic_exchange(&use->seals, 0);
            out[n].opens = atomic_exchange(&use->opens, 0);
        }
        n++;
    }
    pthread_rwlock_unlock(&codec->lock);
    return n;
}
