/* SPDX-License-Identifier: Apache-2.0 */
#include "support/memory_store.h"

#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW_US 1700000000000000

static int
injected(struct keyring_store *store, enum memory_store_call call, struct coffer_error *err)
{
    struct memory_store *m = store->ctx;

    m->calls[call]++;
    if (m->fail[call].status == COFFER_OK || m->fail[call].times == 0)
        return COFFER_OK;
    if (m->fail[call].after > 0) {
        m->fail[call].after--;
        return COFFER_OK;
    }
    m->fail[call].times--;
    return error_set(err, m->fail[call].status, "injected failure of call %d", (int)call);
}

static int
memory_load(struct keyring_store *store, struct keyring **out, struct coffer_error *err)
{
    struct memory_store *m = store->ctx;
    int rc;

    *out = NULL;
    rc = injected(store, MEMORY_LOAD, err);
    if (rc != COFFER_OK)
        return rc;
    rc = keyring_decode(buf_view(&m->file), m->kek, out, err);
    if (rc == COFFER_OK && keyring_epoch(*out) < keyring_epoch(m->known)) {
        rc = error_set(err, COFFER_E_ROLLBACK, "this keyring is at epoch %llu, %llu was seen",
                       (unsigned long long)keyring_epoch(*out),
                       (unsigned long long)keyring_epoch(m->known));
        keyring_free(*out);
        *out = NULL;
    }
    return rc;
}

static int
memory_commit(struct keyring_store *store, struct keyring *kr, struct coffer_error *err)
{
    struct memory_store *m = store->ctx;
    struct keyring *read_back = NULL;
    uint64_t epoch = keyring_epoch(kr), newest;
    uint16_t kek_kind;
    struct uuid id;
    struct buf content;
    int rc;

    rc = injected(store, MEMORY_COMMIT, err);
    if (rc != COFFER_OK)
        return rc;
    if (m->before_commit != NULL)
        m->before_commit(m);
    rc = keyring_peek(buf_view(&m->file), &id, &newest, &kek_kind, err);
    if (rc != COFFER_OK)
        return rc;
    if (newest != epoch)
        return error_set(err, COFFER_E_CONFLICT, "the keyring is at epoch %llu, not %llu",
                         (unsigned long long)newest, (unsigned long long)epoch);
    buf_init(&content, KEYRING_FILE_MAX);
    rc = keyring_encode(kr, &content, err);
    if (rc == COFFER_OK)
        rc = keyring_decode_again(buf_view(&content), kr, &read_back, err);
    if (rc != COFFER_OK) {
        buf_wipe(&content);
        return rc;
    }
    buf_wipe(&m->file);
    m->file = content;
    keyring_free(m->known);
    m->known = read_back;
    return COFFER_OK;
}

static struct memory_file *
find_file(struct memory_file *files, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(files[i].name, name) == 0)
            return &files[i];
    }
    return NULL;
}

static int
put_file(struct memory_file *files, size_t *count, const char *name, struct bytes content)
{
    struct memory_file *file = find_file(files, *count, name);

    if (file == NULL) {
        assert_true(*count < 64);
        file = &files[(*count)++];
        snprintf(file->name, sizeof file->name, "%s", name);
    } else {
        buf_wipe(&file->content);
    }
    buf_init(&file->content, KEYRING_FILE_MAX);
    buf_bytes(&file->content, content);
    return COFFER_OK;
}

static int
get_file(struct memory_file *files, size_t count, const char *name, struct buf *content,
         struct coffer_error *err)
{
    const struct memory_file *file = find_file(files, count, name);

    if (file == NULL)
        return error_set(err, COFFER_E_NOTFOUND, "there is no file %s", name);
    buf_bytes(content, buf_view(&file->content));
    return buf_status(content, err);
}

static const char *
escrow_name(uint32_t key_id, char out[9])
{
    snprintf(out, 9, "%08x", key_id);
    return out;
}

static int
memory_escrow_put(struct keyring_store *store, uint32_t key_id, struct bytes content,
                  struct coffer_error *err)
{
    struct memory_store *m = store->ctx;
    char name[9];
    int rc = injected(store, MEMORY_ESCROW_PUT, err);

    return rc != COFFER_OK
               ? rc
               : put_file(m->escrow, &m->escrow_count, escrow_name(key_id, name), content);
}

static int
memory_escrow_get(struct keyring_store *store, uint32_t key_id, struct buf *content,
                  struct coffer_error *err)
{
    struct memory_store *m = store->ctx;
    char name[9];
    int rc = injected(store, MEMORY_ESCROW_GET, err);

    return rc != COFFER_OK
               ? rc
               : get_file(m->escrow, m->escrow_count, escrow_name(key_id, name), content, err);
}

static int
memory_escrow_remove(struct keyring_store *store, uint32_t key_id, struct coffer_error *err)
{
    struct memory_store *m = store->ctx;
    struct memory_file *file;
    char name[9];
    int rc = injected(store, MEMORY_ESCROW_REMOVE, err);

    if (rc != COFFER_OK)
        return rc;
    file = find_file(m->escrow, m->escrow_count, escrow_name(key_id, name));
    if (file != NULL) {
        buf_wipe(&file->content);
        *file = m->escrow[--m->escrow_count];
    }
    return COFFER_OK;
}

static int
memory_audit_append(struct keyring_store *store,
                    int (*make)(void *arg, struct bytes log, struct buf *line,
                                struct coffer_error *err),
                    void *arg, struct coffer_error *err)
{
    struct memory_store *m = store->ctx;
    struct buf line;
    int rc = injected(store, MEMORY_AUDIT_APPEND, err);

    if (rc != COFFER_OK)
        return rc;
    buf_init(&line, KEYRING_FILE_MAX);
    rc = make(arg, buf_view(&m->audit), &line, err);
    if (rc == COFFER_OK)
        rc = buf_status(&line, err);
    if (rc == COFFER_OK) {
        buf_bytes(&m->audit, buf_view(&line));
        rc = buf_status(&m->audit, err);
        m->audit.failed = COFFER_OK; /* a disk that was full once takes the next line */
    }
    buf_wipe(&line);
    return rc;
}

static int
memory_audit_read(struct keyring_store *store, struct buf *out, struct coffer_error *err)
{
    struct memory_store *m = store->ctx;
    int rc = injected(store, MEMORY_AUDIT_READ, err);

    if (rc != COFFER_OK)
        return rc;
    buf_bytes(out, buf_view(&m->audit));
    return buf_status(out, err);
}

static int
memory_certificate_put(struct keyring_store *store, const char *name, struct bytes content,
                       struct coffer_error *err)
{
    struct memory_store *m = store->ctx;
    int rc = injected(store, MEMORY_CERTIFICATE_PUT, err);

    return rc != COFFER_OK ? rc : put_file(m->certificates, &m->certificate_count, name, content);
}

static int
memory_certificate_get(struct keyring_store *store, const char *name, struct buf *content,
                       struct coffer_error *err)
{
    struct memory_store *m = store->ctx;
    int rc = injected(store, MEMORY_CERTIFICATE_GET, err);

    return rc != COFFER_OK ? rc
                           : get_file(m->certificates, m->certificate_count, name, content, err);
}

struct memory_store *
memory_store_new(void)
{
    struct memory_store *m = calloc(1, sizeof *m);
    uint8_t key[KEK_KEY_LEN];

    assert_non_null(m);
    m->store = (struct keyring_store){
        .load = memory_load,
        .commit = memory_commit,
        .escrow_put = memory_escrow_put,
        .escrow_get = memory_escrow_get,
        .escrow_remove = memory_escrow_remove,
        .audit_append = memory_audit_append,
        .audit_read = memory_audit_read,
        .certificate_put = memory_certificate_put,
        .certificate_get = memory_certificate_get,
        .ctx = m,
    };
    memset(key, 0x42, sizeof key);
    buf_init(&m->file, KEYRING_FILE_MAX);
    buf_init(&m->audit, KEYRING_FILE_MAX);
    assert_int_equal(kek_key_new(bytes_of(key, sizeof key), &m->kek, NULL), COFFER_OK);
    assert_int_equal(keyring_new(m->kek, "test", NOW_US, &m->known, NULL), COFFER_OK);
    assert_int_equal(keyring_encode(m->known, &m->file, NULL), COFFER_OK);
    return m;
}

void
memory_store_replace(struct memory_store *m, struct bytes file)
{
    buf_clear(&m->file);
    buf_bytes(&m->file, file);
    assert_int_equal(buf_status(&m->file, NULL), COFFER_OK);
}

void
memory_store_free(struct memory_store *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->escrow_count; i++)
        buf_wipe(&m->escrow[i].content);
    for (size_t i = 0; i < m->certificate_count; i++)
        buf_wipe(&m->certificates[i].content);
    buf_wipe(&m->file);
    buf_wipe(&m->audit);
    keyring_free(m->known);
    kek_close(m->kek);
    free(m);
}
