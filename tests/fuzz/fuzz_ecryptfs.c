/* SPDX-License-Identifier: Apache-2.0 */
/* eCryptfs's lower files, names and wrapped passphrases.  The first byte of an input chooses:
 *   0  a header (what follows it in the file is made here)      1  metadata in an attribute
 *   2  a lower name      3  a lower link target      4  a wrapped-passphrase file
 * What opens must work on: written, shortened, wrapped anew, and read back as it was. */
#include "support/memory_lower.h"
#include "volume/ecryptfs/ecryptfs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define F (&volume_ecryptfs)
#define FILE_LEN (8192 + 3 * 4096)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct volume_key keys[2];
static struct volume *volume;

static void
expect(bool true_always)
{
    if (!true_always)
        abort();
}

static void
start(void)
{
    struct volume_options options = {.key_bits = 128, .encrypt_names = true};
    struct volume_key name_key = {0};

    if (volume != NULL)
        return;
    expect(F->key_set(bytes_str("Test"), bytes_str(""), &keys[0], NULL) == 0);
    expect(F->key_set(bytes_str("Second"), bytes_str(""), &keys[1], NULL) == 0);
    expect(F->key_set(bytes_str("Test"), ecryptfs_name_salt(), &name_key, NULL) == 0);
    expect(F->open(&options, keys, 2, &name_key, 1, &volume, NULL) == 0);
}

static void
ignore(void *arg, enum volume_damage damage, const char *message)
{
    expect(damage != VOLUME_OK && message[0] != '\0');
}

static void
work_on(struct memory_lower *m, struct volume_file *file)
{
    uint8_t before[64], after[64];
    uint64_t size = F->file_size(file);
    ssize_t n = F->file_read(file, before, sizeof before, 0, NULL);
    int rc;

    expect(n >= -EBADMSG && n <= (ssize_t)sizeof before);
    rc = F->file_write(file, "hello", 5, 5000, 0, NULL);
    expect(rc == 0 || rc == -EBADMSG || rc == -EROFS || rc == -EFBIG);
    if (rc == 0) {
        expect(F->file_size(file) == (size > 5005 ? size : 5005));
        expect(F->file_read(file, after, 5, 5000, NULL) == 5 && memcmp(after, "hello", 5) == 0);
        expect(F->file_truncate(file, 100, NULL) == 0 || n < 0);
    }
    (void)m;
}

static void
one_lower_file(struct memory_lower *m)
{
    struct volume_file_info info;
    struct volume_file *file = NULL;
    struct coffer_error err = {0};
    bool changed;
    int info_rc = F->file_info(volume, &m->lower, &info, NULL);
    int rc;

    expect(info_rc == 0 || info_rc == -EBADMSG || info_rc == -EOPNOTSUPP);
    (void)F->file_check(volume, &m->lower, true, ignore, NULL);
    rc = F->file_open(volume, &m->lower, &file, &err);
    expect((rc == 0) == (file != NULL) && (rc == 0 || err.message[0] != '\0'));
    expect(rc != 0 || info_rc == 0);
    if (file != NULL) {
        work_on(m, file);
        F->file_close(file);
        m->closed = false;
        rc = F->file_rewrap(volume, &m->lower, &changed, NULL);
        expect(rc == 0);
        expect(F->file_open(volume, &m->lower, &file, NULL) == 0);
        F->file_close(file);
    }
    memory_lower_free(m);
}

static void
one_header(struct bytes data)
{
    static uint8_t whole[FILE_LEN];

    memset(whole, 0, 4096);
    memset(whole + 4096, 0x5a, sizeof whole - 4096);
    memcpy(whole, data.ptr, data.len < 4096 ? data.len : 4096);
    one_lower_file(memory_lower_of(bytes_of(whole, sizeof whole)));
}

static void
one_attribute(struct bytes data)
{
    static uint8_t whole[3 * 4096];
    struct memory_lower *m;

    memset(whole, 0x5a, sizeof whole);
    m = memory_lower_of(bytes_of(whole, sizeof whole));
    m->xattr_len = (ssize_t)(data.len < sizeof m->xattr ? data.len : sizeof m->xattr);
    memcpy(m->xattr, data.ptr, (size_t)m->xattr_len);
    one_lower_file(m);
}

static void
one_name(struct bytes lower)
{
    char upper[VOLUME_NAME_MAX + 1], again[VOLUME_NAME_MAX + 1], signature[VOLUME_KEY_NAME + 1];
    int rc = F->name_to_upper(volume, lower, upper, NULL);

    expect(rc == 0 || rc == -ENOENT);
    (void)ecryptfs_name_signature(lower, signature);
    if (rc == 0) {
        expect(F->name_to_lower(volume, bytes_str(upper), again, NULL) == 0);
        expect(bytes_equal(bytes_str(again), lower) && strchr(upper, '/') == NULL);
    }
    if (lower.len > 0 && lower.len <= 143 && memchr(lower.ptr, 0, lower.len) == NULL &&
        memchr(lower.ptr, '/', lower.len) == NULL &&
        lower.ptr[0] != '.') { /* and as an upper one */
        expect(F->name_to_lower(volume, lower, again, NULL) == 0);
        expect(F->name_to_upper(volume, bytes_str(again), upper, NULL) == 0);
        expect(bytes_equal(bytes_str(upper), lower));
    }
}

static void
one_target(struct bytes lower)
{
    struct buf upper;
    int rc;

    buf_init(&upper, VOLUME_TARGET_MAX);
    rc = F->target_to_upper(volume, lower, &upper, NULL);
    expect(rc == 0 || rc == -EINVAL || rc == -ENAMETOOLONG);
    buf_wipe(&upper);
}

static void
one_wrapped(struct bytes file)
{
    struct secret *passphrase = NULL;
    int rc = ecryptfs_unwrap(file, bytes_str("wrapme"), bytes_str(""), &passphrase, NULL);

    expect(rc == COFFER_OK || rc == COFFER_E_FORMAT || rc == COFFER_E_KEK);
    expect((rc == COFFER_OK) == (passphrase != NULL));
    secret_free(passphrase);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static void (*const WAYS[])(struct bytes) = {one_header, one_attribute, one_name, one_target,
                                                 one_wrapped};

    start();
    if (len > 0)
        WAYS[data[0] % 5](bytes_of(data + 1, len - 1));
    return 0;
}
