/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the eCryptfs format over a lower file in memory: what is read is what was written, in as few
 * lower calls as the core counts on. */
#include "support/test.h"

#include "crypto/block.h"
#include "support/memory_lower.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#define F (&volume_ecryptfs)
#define EXTENT 4096u
#define HEADER 8192u

static const struct volume_options AES_256 = {.key_bits = 256};
static struct volume_key key, other_key;

static struct volume *
volume_with(const struct volume_options *options, const struct volume_key *first)
{
    struct volume *volume = NULL;

    assert_int_equal(F->open(options, first, 1, NULL, 0, &volume, NULL), 0);
    return volume;
}

static struct volume *
volume_of(unsigned key_bits, bool xattr)
{
    return volume_with(&(struct volume_options){.key_bits = key_bits, .xattr_metadata = xattr},
                       &key);
}

static struct volume_file *
create(struct volume *volume, struct memory_lower *m)
{
    struct volume_file *file = NULL;

    assert_int_equal(F->file_create(volume, &m->lower, &file, NULL), 0);
    return file;
}

static struct volume_file *
reopen(struct volume *volume, struct memory_lower *m, struct volume_file *file)
{
    struct volume_file *again = NULL;
    struct coffer_error err = {0};

    F->file_close(file);
    m->closed = false;
    if (F->file_open(volume, &m->lower, &again, &err) != 0)
        fail_msg("%s", err.message);
    return again;
}

static void
assert_content(struct volume_file *file, const uint8_t *expected, size_t len)
{
    uint8_t *out = malloc(len + 1);

    assert_int_equal(F->file_size(file), len);
    assert_int_equal(F->file_read(file, out, len + 1, 0, NULL), len);
    assert_memory_equal(out, expected, len);
    free(out);
}

static void
done(struct volume *volume, struct memory_lower *m, struct volume_file *file)
{
    F->file_close(file);
    memory_lower_free(m);
    F->close(volume);
}

static void
a_new_file_is_an_empty_header(void **state)
{
    struct volume *volume = volume_of(256, false);
    struct memory_lower *m = memory_lower_new();
    struct volume_file *file = create(volume, m);
    struct volume_file_info info;

    assert_int_equal(m->length, HEADER);
    assert_int_equal(F->file_size(file), 0);
    assert_int_equal(F->file_info(volume, &m->lower, &info, NULL), 0);
    assert_int_equal(info.size, 0);
    assert_int_equal(info.key_bits, 256);
    assert_string_equal(info.cipher, "aes-256");
    assert_int_equal(info.key_count, 1);
    assert_string_equal(info.keys[0], key.name);
    assert_false(info.empty);
    assert_true(F->file_is_current(volume, &info));
    done(volume, m, file);
}

static void
what_is_written_is_read(void **state)
{
    static const unsigned BITS[] = {128, 192, 256};
    static const size_t LENS[] = {
        1, 15, 4095, 4096, 4097, 8192, 100003, 65 * EXTENT, 200 * EXTENT + 7};
    static uint8_t data[200 * EXTENT + 7];

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
    for (size_t b = 0; b < 6; b++) {
        struct volume *volume = volume_of(BITS[b % 3], b >= 3);

        for (size_t i = 0; i < sizeof LENS / sizeof LENS[0]; i++) {
            struct memory_lower *m = memory_lower_new();
            struct volume_file *file = create(volume, m);

            assert_int_equal(F->file_write(file, data, LENS[i], 0, 0, NULL), 0);
            assert_content(file, data, LENS[i]);
            file = reopen(volume, m, file);
            assert_content(file, data, LENS[i]);
            assert_int_equal(m->length,
                             (b >= 3 ? 0 : HEADER) + (LENS[i] + EXTENT - 1) / EXTENT * EXTENT);
            F->file_close(file);
            memory_lower_free(m);
        }
        F->close(volume);
    }
}

/* Bytes of a file as they are after all that was done to it. */
static uint8_t *
pattern(size_t len, unsigned seed)
{
    uint8_t *bytes = malloc(len + 1);

    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 251 + seed);
    return bytes;
}

static void
an_aligned_overwrite_is_one_lower_write(void **state)
{
    struct volume *volume = volume_of(256, false);
    struct memory_lower *m = memory_lower_new();
    struct volume_file *file = create(volume, m);
    uint8_t *data = pattern(10 * EXTENT, 1);

    assert_int_equal(F->file_write(file, data, 10 * EXTENT, 0, 0, NULL), 0);
    memory_lower_count_from_zero(m);
    memset(data + 2 * EXTENT, 9, 2 * EXTENT);
    assert_int_equal(F->file_write(file, data + 2 * EXTENT, 2 * EXTENT, 2 * EXTENT, 0, NULL), 0);
    assert_int_equal(m->calls[LOWER_WRITE], 1);
    assert_int_equal(m->calls[LOWER_READ], 0);
    assert_int_equal(m->written_at_last, HEADER + 2 * EXTENT);
    assert_content(file, data, 10 * EXTENT);

    /* appending whole extents: the data, and the size */
    memory_lower_count_from_zero(m);
    assert_int_equal(F->file_write(file, data, 2 * EXTENT, 10 * EXTENT, 0, NULL), 0);
    assert_int_equal(m->calls[LOWER_WRITE], 2);
    assert_int_equal(m->calls[LOWER_READ], 0);
    assert_int_equal(m->written_at_last, 0);

    /* reading many extents: one lower read */
    memory_lower_count_from_zero(m);
    free(data);
    data = malloc(12 * EXTENT);
    assert_int_equal(F->file_read(file, data, 12 * EXTENT, 0, NULL), 12 * EXTENT);
    assert_int_equal(m->calls[LOWER_READ], 1);
    assert_int_equal(F->file_read(file, data, 3 * EXTENT, 100, NULL), 3 * EXTENT);
    assert_int_equal(m->calls[LOWER_READ], 2);
    free(data);
    done(volume, m, file);
}

static void
a_durable_write_is_durable(void **state)
{
    struct volume *volume = volume_of(256, false);
    struct memory_lower *m = memory_lower_new();
    struct volume_file *file = create(volume, m);
    uint8_t *data = pattern(100 * EXTENT, 1);

    assert_int_equal(F->file_write(file, data, 100 * EXTENT, 0, VOLUME_WRITE_DSYNC, NULL), 0);
    assert_int_equal(m->dsync_writes, 0); /* several writes: one flush after them */
    assert_int_equal(m->calls[LOWER_SYNC], 1);
    assert_true(m->last_sync_data_only);
    memory_lower_count_from_zero(m);
    assert_int_equal(F->file_write(file, data, 2 * EXTENT, 0, VOLUME_WRITE_DSYNC, NULL), 0);
    assert_int_equal(m->calls[LOWER_WRITE], 1);
    assert_int_equal(m->dsync_writes, 1);
    assert_int_equal(m->calls[LOWER_SYNC], 0);
    free(data);
    done(volume, m, file);
}

/* With an attribute the size is no part of the data: fdatasync would not do. */
static void
a_size_in_an_attribute_is_synced_with_it(void **state)
{
    struct volume *volume = volume_of(128, true);
    struct memory_lower *m = memory_lower_new();
    struct volume_file *file = create(volume, m);

    assert_int_equal(m->length, 0);
    assert_int_equal(m->xattr_len, 81);
    assert_memory_equal(m->xattr + 16, "\x03\x00\x00\x06\x00\x00\x10\x00\x00\x02\x8c", 11);
    assert_int_equal(F->file_write(file, "abc", 3, 0, VOLUME_WRITE_DSYNC, NULL), 0);
    assert_int_equal(m->calls[LOWER_SYNC], 1);
    assert_false(m->last_sync_data_only);
    assert_int_equal(F->file_sync(file, true, NULL), 0);
    assert_false(m->last_sync_data_only);
    assert_int_equal(get_be64(m->xattr), 3);
    assert_int_equal(m->length, EXTENT);
    done(volume, m, file);
}

static void
a_gap_reads_as_zeros(void **state)
{
    static const size_t AT[] = {4, 4095, 4096, 5000, 8192, 300000};
    uint8_t *expected = calloc(1, 400000);

    for (size_t i = 0; i < sizeof AT / sizeof AT[0]; i++) {
        struct volume *volume = volume_of(192, false);
        struct memory_lower *m = memory_lower_new();
        struct volume_file *file = create(volume, m);

        memset(expected, 0, 400000);
        memcpy(expected, "abc", 3);
        memcpy(expected + AT[i], "def", 3);
        assert_int_equal(F->file_write(file, "abc", 3, 0, 0, NULL), 0);
        assert_int_equal(F->file_write(file, "def", 3, AT[i], 0, NULL), 0);
        assert_content(file, expected, AT[i] + 3);
        done(volume, m, file);
    }
    free(expected);
}

/* What is behind the end never comes back: after shrinking and growing there are zeros, even if another
 * writer left bytes there. */
static void
what_was_cut_off_does_not_come_back(void **state)
{
    struct volume *volume = volume_of(256, false);
    struct memory_lower *m = memory_lower_new();
    struct volume_file *file = create(volume, m);
    uint8_t *data = pattern(3 * EXTENT, 1), *expected = calloc(1, 3 * EXTENT);
    uint8_t tail[EXTENT];

    assert_int_equal(F->file_write(file, data, 3 * EXTENT, 0, 0, NULL), 0);
    assert_int_equal(F->file_truncate(file, 5000, NULL), 0);
    assert_int_equal(m->length, HEADER + 2 * EXTENT);
    memcpy(expected, data, 5000);
    assert_content(file, expected, 5000);
    /* the stored tail is zeros: what the kernel relies on */
    put_be64(m->bytes, 2 * EXTENT);
    file = reopen(volume, m, file);
    assert_content(file, expected, 2 * EXTENT);

    /* a kernel can leave bytes there (a shared mapping); growing must not show them */
    memset(tail, 7, sizeof tail);
    assert_int_equal(F->file_write(file, tail, EXTENT, EXTENT, 0, NULL), 0);
    put_be64(m->bytes, EXTENT + 10);
    file = reopen(volume, m, file);
    assert_int_equal(F->file_truncate(file, EXTENT + 100, NULL), 0);
    memset(expected + EXTENT, 0, EXTENT);
    memset(expected + EXTENT, 7, 10);
    assert_content(file, expected, EXTENT + 100);
    assert_int_equal(F->file_truncate(file, 0, NULL), 0);
    assert_int_equal(m->length, HEADER);
    assert_content(file, expected, 0);
    free(data);
    free(expected);
    done(volume, m, file);
}

/* After a crash a lower file may have no byte; it is an empty file, and gets its header when written. */
static void
a_lower_file_of_length_0_is_an_empty_file(void **state)
{
    struct volume *volume = volume_of(256, false);
    struct memory_lower *m = memory_lower_new();
    struct volume_file_info info;
    struct volume_file *file = NULL;

    assert_int_equal(F->file_info(volume, &m->lower, &info, NULL), 0);
    assert_true(info.empty);
    assert_int_equal(info.size, 0);
    assert_true(F->file_is_current(volume, &info));
    assert_int_equal(F->file_open(volume, &m->lower, &file, NULL), 0);
    assert_content(file, (const uint8_t *)"", 0);
    assert_int_equal(m->length, 0);
    assert_int_equal(F->file_write(file, "abc", 3, 0, 0, NULL), 0);
    file = reopen(volume, m, file);
    assert_content(file, (const uint8_t *)"abc", 3);
    done(volume, m, file);
}

static int
try_open(struct volume *volume, struct memory_lower *m, struct coffer_error *err)
{
    struct volume_file *file = (void *)volume;
    int rc = F->file_open(volume, &m->lower, &file, err);

    if (rc == 0) {
        F->file_close(file);
        m->closed = false;
    } else {
        assert_null(file);
        assert_false(m->closed); /* still the caller's */
        assert_true(err->message[0] != '\0');
    }
    return rc;
}

/* A file cut off at rest is damage; after a crash it is growth that nobody synced. */
static void
a_size_beyond_the_lower_file(void **state)
{
    struct volume *strict = volume_of(256, false);
    struct volume *crashed =
        volume_with(&(struct volume_options){.key_bits = 256, .after_crash = true}, &key);
    struct memory_lower *m = memory_lower_new();
    struct volume_file *file = create(strict, m);
    struct volume_file_info info;
    struct coffer_error err = {0};
    bool changed;
    uint8_t *data = pattern(3 * EXTENT, 1);

    assert_int_equal(F->file_write(file, data, 3 * EXTENT - 5, 0, 0, NULL), 0);
    F->file_close(file);
    m->closed = false;
    m->length = HEADER + 2 * EXTENT + 100;
    assert_int_equal(try_open(strict, m, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "cut off"));
    assert_int_equal(F->file_info(crashed, &m->lower, &info, NULL), 0);
    assert_int_equal(info.size, 2 * EXTENT);
    assert_int_equal(F->file_settle(strict, &m->lower, &changed, NULL), 0);
    assert_false(changed); /* it is damage, and stays */
    assert_int_equal(F->file_open(crashed, &m->lower, &file, NULL), 0);
    assert_content(file, data, 2 * EXTENT);
    file = reopen(strict, m, file); /* settled by that */
    assert_content(file, data, 2 * EXTENT);
    m->length -= EXTENT;
    assert_int_equal(F->file_settle(crashed, &m->lower, &changed, NULL), 0);
    assert_true(changed);
    assert_int_equal(F->file_settle(crashed, &m->lower, &changed, NULL), 0);
    assert_false(changed);
    file = reopen(strict, m, file);
    assert_content(file, data, EXTENT);
    free(data);
    F->close(strict);
    done(crashed, m, file);
}

static void
a_hole_is_damage_but_zeros_after_a_crash(void **state)
{
    struct volume *strict = volume_of(256, false);
    struct volume *crashed =
        volume_with(&(struct volume_options){.key_bits = 256, .after_crash = true}, &key);
    struct memory_lower *m = memory_lower_new();
    struct volume_file *file = create(strict, m);
    uint8_t *data = pattern(4 * EXTENT, 1), *out = malloc(4 * EXTENT);
    struct coffer_error err = {0};

    assert_int_equal(F->file_write(file, data, 4 * EXTENT, 0, 0, NULL), 0);
    memset(m->bytes + HEADER + EXTENT, 0, EXTENT);
    assert_int_equal(F->file_read(file, out, EXTENT, 0, NULL), EXTENT); /* others are unharmed */
    assert_int_equal(F->file_read(file, out, 4 * EXTENT, 0, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "extent 1"));
    assert_int_equal(F->file_write(file, "x", 1, EXTENT + 5, 0, NULL), -EBADMSG);
    F->file_close(file);
    m->closed = false;
    assert_int_equal(F->file_open(crashed, &m->lower, &file, NULL), 0);
    memset(data + EXTENT, 0, EXTENT);
    assert_content(file, data, 4 * EXTENT);
    free(data);
    free(out);
    F->close(strict);
    done(crashed, m, file);
}

/* Headers of other sizes and versions, as other kernels wrote them. */
static void
other_headers_are_read(void **state)
{
    struct volume *volume = volume_of(128, false);
    struct memory_lower *m = memory_lower_new(), *moved;
    struct volume_file *file = create(volume, m);
    struct coffer_error err = {0};
    uint8_t *data = pattern(EXTENT, 1), raw[70000];

    assert_int_equal(F->file_write(file, data, EXTENT, 0, 0, NULL), 0);
    F->file_close(file);
    m->closed = false;

    memcpy(raw, m->bytes, 8192); /* 16 times 4096, of a machine with large pages */
    memset(raw + 8192, 0, sizeof raw - 8192);
    raw[25] = 16;
    memcpy(raw + 65536, m->bytes + HEADER, EXTENT);
    moved = memory_lower_of(bytes_of(raw, 65536 + EXTENT));
    assert_int_equal(F->file_open(volume, &moved->lower, &file, NULL), 0);
    assert_content(file, data, EXTENT);
    F->file_close(file);
    memory_lower_free(moved);

    memcpy(raw, m->bytes, HEADER + EXTENT); /* 1 times 4096: the kernel reads garbage */
    raw[25] = 1;
    moved = memory_lower_of(bytes_of(raw, HEADER + EXTENT));
    assert_int_equal(try_open(volume, moved, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "4096 bytes"));
    memory_lower_free(moved);

    raw[21] = 0x20; /* 1 times 2 MiB: nobody's, and a write would land far away */
    put_be64(raw, 0);
    moved = memory_lower_of(bytes_of(raw, HEADER + EXTENT));
    assert_int_equal(try_open(volume, moved, &err), -EBADMSG);
    memory_lower_free(moved);

    memcpy(raw, m->bytes, HEADER + EXTENT); /* version 0 has no sizes */
    raw[16] = 0;
    memmove(raw + 20, raw + 26, 100);
    moved = memory_lower_of(bytes_of(raw, HEADER + EXTENT));
    assert_int_equal(F->file_open(volume, &moved->lower, &file, NULL), 0);
    assert_content(file, data, EXTENT);
    F->file_close(file);
    memory_lower_free(moved);

    raw[16] = 4;
    moved = memory_lower_of(bytes_of(raw, HEADER + EXTENT));
    assert_int_equal(try_open(volume, moved, &err), -EBADMSG);
    memory_lower_free(moved);
    free(data);
    memory_lower_free(m);
    F->close(volume);
}

static void
allocate_follows_the_format(void **state)
{
    struct volume *volume = volume_of(256, false);
    struct memory_lower *m = memory_lower_new();
    struct volume_file *file = create(volume, m);
    uint8_t *data = pattern(4 * EXTENT, 1);

    assert_int_equal(F->file_write(file, data, 3 * EXTENT, 0, 0, NULL), 0);
    assert_int_equal(F->file_allocate(file, FALLOC_FL_KEEP_SIZE, 0, 100 * EXTENT, NULL), 0);
    assert_int_equal(m->calls[LOWER_RESERVE], 1);
    assert_content(file, data, 3 * EXTENT);
    assert_int_equal(F->file_allocate(file, 0, EXTENT, 3 * EXTENT, NULL), 0);
    memset(data + 3 * EXTENT, 0, EXTENT);
    assert_content(file, data, 4 * EXTENT);
    assert_int_equal(F->file_allocate(file, FALLOC_FL_ZERO_RANGE, 100, 5000, NULL), 0);
    memset(data + 100, 0, 5000);
    assert_content(file, data, 4 * EXTENT);
    assert_int_equal(F->file_allocate(file, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                      4 * EXTENT - 1, 99, NULL),
                     0);
    data[4 * EXTENT - 1] = 0;
    assert_content(file, data, 4 * EXTENT);
    assert_int_equal(
        F->file_allocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, EXTENT, NULL),
        -EOPNOTSUPP);
    assert_int_equal(F->file_allocate(file, FALLOC_FL_COLLAPSE_RANGE, 0, EXTENT, NULL),
                     -EOPNOTSUPP);
    assert_int_equal(F->file_allocate(file, FALLOC_FL_INSERT_RANGE, 0, EXTENT, NULL), -EOPNOTSUPP);
    assert_int_equal(F->file_allocate(file, 0, UINT64_MAX - 5, 10, NULL), -EFBIG);
    assert_content(file, data, 4 * EXTENT);

    /* no room: nothing is changed */
    m->room_max = HEADER + 4 * EXTENT;
    assert_int_equal(F->file_allocate(file, 0, 0, 5 * EXTENT, NULL), -ENOSPC);
    assert_content(file, data, 4 * EXTENT);
    m->room_max = 0;
    m->no_reserve = true; /* then writing zeros does it, but reserving alone cannot be had */
    assert_int_equal(F->file_allocate(file, 0, 0, 4 * EXTENT + 1, NULL), 0);
    assert_int_equal(F->file_size(file), 4 * EXTENT + 1);
    assert_int_equal(F->file_allocate(file, FALLOC_FL_KEEP_SIZE, 0, 9 * EXTENT, NULL), -EOPNOTSUPP);
    free(data);
    done(volume, m, file);
}

static void
sizes_that_the_format_has_not_are_refused(void **state)
{
    struct volume *volume = volume_of(256, false);
    struct memory_lower *m = memory_lower_new();
    struct volume_file *file = create(volume, m);

    assert_int_equal(F->file_write(file, "x", 1, UINT64_MAX, 0, NULL), -EFBIG);
    assert_int_equal(F->file_write(file, "x", 1, 4096000000000000000u, 0, NULL), -EFBIG);
    assert_int_equal(F->file_truncate(file, (uint64_t)1 << 62, NULL), -EFBIG);
    assert_int_equal(F->file_size(file), 0);
    assert_int_equal(m->length, HEADER);
    done(volume, m, file);
}

static void
plain_files_are_shown_only_when_asked(void **state)
{
    struct volume *strict = volume_of(256, false);
    struct volume *lax =
        volume_with(&(struct volume_options){.key_bits = 256, .plain_passthrough = true}, &key);
    struct memory_lower *m = memory_lower_of(bytes_str("a plain file, of somebody else's"));
    struct volume_file *file = NULL;
    struct volume_file_info info;
    struct coffer_error err = {0};

    assert_int_equal(try_open(strict, m, &err), -EBADMSG);
    assert_int_equal(F->file_info(strict, &m->lower, &info, NULL), -EBADMSG);
    assert_int_equal(F->file_info(lax, &m->lower, &info, NULL), 0);
    assert_int_equal(info.size, 32);
    assert_int_equal(info.key_count, 0);
    assert_false(F->file_is_current(lax, &info));
    assert_int_equal(F->file_open(lax, &m->lower, &file, NULL), 0);
    assert_content(file, m->bytes, 32);
    assert_int_equal(F->file_write(file, "x", 1, 0, 0, NULL), -EROFS);
    assert_int_equal(F->file_truncate(file, 0, NULL), -EROFS);
    assert_int_equal(F->file_allocate(file, 0, 0, 50, NULL), -EROFS);
    F->close(strict);
    done(lax, m, file);
}

static struct memory_lower *
sealed_file(struct volume *volume, const uint8_t *data, size_t len)
{
    struct memory_lower *m = memory_lower_new();
    struct volume_file *file = create(volume, m);

    assert_int_equal(F->file_write(file, data, len, 0, 0, NULL), 0);
    F->file_close(file);
    m->closed = false;
    return m;
}

/* A new key for the file's metadata: one sector, or the attribute, changes; the content does not. */
static void
rewrap_changes_the_first_sector_alone(void **state)
{
    uint8_t *data = pattern(3 * EXTENT, 1), before[HEADER + 3 * EXTENT];

    for (int xattr = 0; xattr < 2; xattr++) {
        struct volume *volume = volume_of(192, xattr);
        struct volume *fresh = volume_with(
            &(struct volume_options){.key_bits = 192, .xattr_metadata = xattr}, &other_key);
        struct memory_lower *m = sealed_file(volume, data, 3 * EXTENT);
        struct volume_key both[2] = {other_key, key};
        struct volume_file_info info;
        struct volume_file *file = NULL;
        struct coffer_error err = {0};
        bool changed = false;

        memcpy(before, m->bytes, m->length);
        assert_int_equal(F->file_rewrap(fresh, &m->lower, &changed, &err), -EKEYREJECTED);
        assert_false(changed);
        assert_int_equal(
            F->change(volume, &(struct volume_options){.key_bits = 192}, both, 2, NULL, 0, NULL),
            0);
        memory_lower_count_from_zero(m);
        assert_int_equal(F->file_rewrap(volume, &m->lower, &changed, NULL), 0);
        assert_true(changed);
        assert_int_equal(m->calls[LOWER_WRITE], !xattr);
        assert_int_equal(m->calls[LOWER_XATTR_SET], xattr);
        if (xattr == 0) {
            assert_int_equal(m->written_at_last, 0);
            assert_memory_not_equal(m->bytes, before, 512);
            assert_memory_equal(m->bytes + 512, before + 512, m->length - 512);
        }
        assert_int_equal(F->file_rewrap(volume, &m->lower, &changed, NULL), 0);
        assert_false(changed); /* it was so already */
        assert_int_equal(F->file_info(volume, &m->lower, &info, NULL), 0);
        assert_true(F->file_is_current(volume, &info));
        assert_int_equal(info.size, 3 * EXTENT);
        assert_int_equal(F->file_open(fresh, &m->lower, &file, NULL), 0); /* by the new key alone */
        assert_content(file, data, 3 * EXTENT);
        F->close(fresh);
        done(volume, m, file);
    }
    free(data);
}

/* Rewrapped while open: the next size that is written must not bring the old wrapping back. */
static void
rewrap_of_an_open_file_stays(void **state)
{
    for (int xattr = 0; xattr < 2; xattr++) {
        struct volume *volume = volume_of(256, xattr);
        struct memory_lower *m = memory_lower_new();
        struct volume_file *file = create(volume, m);
        struct volume_key both[2] = {other_key, key};
        struct volume_file_info info;
        bool changed;

        assert_int_equal(F->change(volume, &AES_256, both, 2, NULL, 0, NULL), 0);
        assert_int_equal(F->file_rewrap(volume, F->file_lower(file), &changed, NULL), 0);
        assert_int_equal(F->file_write(file, "abc", 3, 0, 0, NULL), 0);
        assert_int_equal(F->file_info(volume, &m->lower, &info, NULL), 0);
        assert_string_equal(info.keys[0], other_key.name);
        file = reopen(volume, m, file);
        assert_content(file, (const uint8_t *)"abc", 3);
        done(volume, m, file);
    }
}

/* A header with so many keys that they fill more than a sector: no old key is left behind. */
static void
rewrap_wipes_what_many_keys_left(void **state)
{
    struct volume *volume = volume_of(128, false);
    struct memory_lower *m = sealed_file(volume, (const uint8_t *)"abc", 3);
    struct volume_file_info info;
    uint8_t pair[55];
    bool changed;

    memcpy(pair, m->bytes + 26, sizeof pair);
    for (size_t i = 1; i < 20; i++)
        memcpy(m->bytes + 26 + i * sizeof pair, pair, sizeof pair);
    assert_int_equal(F->file_info(volume, &m->lower, &info, NULL), 0);
    assert_int_equal(info.key_count, 20);
    assert_int_equal(F->file_rewrap(volume, &m->lower, &changed, NULL), 0);
    assert_true(changed);
    for (size_t i = 81; i < HEADER; i++)
        assert_int_equal(m->bytes[i], 0);
    /* and where a crash came between the two writes, they are found although the first pair is current */
    memcpy(m->bytes + 600, pair, sizeof pair);
    assert_int_equal(F->file_rewrap(volume, &m->lower, &changed, NULL), 0);
    assert_true(changed);
    assert_int_equal(m->bytes[600], 0);
    memory_lower_free(m);
    F->close(volume);
}

static void
keys_may_change_while_a_file_is_open(void **state)
{
    struct volume *volume = volume_of(256, false);
    struct memory_lower *m = memory_lower_new(), *n = memory_lower_new();
    struct volume_file *file = create(volume, m), *second;
    struct volume_file_info info;
    struct coffer_error err = {0};

    assert_int_equal(F->change(volume, &AES_256, &other_key, 1, NULL, 0, NULL), 0);
    assert_int_equal(F->file_write(file, "abc", 3, 0, 0, NULL), 0);
    assert_content(file, (const uint8_t *)"abc", 3);
    second = create(volume, n);
    assert_int_equal(F->file_info(volume, &n->lower, &info, NULL), 0);
    assert_string_equal(info.keys[0], other_key.name);
    F->file_close(second);
    memory_lower_free(n);
    F->file_close(file);
    m->closed = false;
    assert_int_equal(try_open(volume, m, &err), -EKEYREJECTED);
    memory_lower_free(m);
    F->close(volume);
}

static unsigned reported;

static void
count_report(void *arg, enum volume_damage damage, const char *message)
{
    reported++;
    assert_true(message[0] != '\0');
    if (arg != NULL)
        assert_non_null(strstr(message, arg));
}

static enum volume_damage
check(struct volume *volume, struct memory_lower *m, const char *word)
{
    union {
        const char *word;
        void *arg;
    } u = {word};

    reported = 0;
    return F->file_check(volume, &m->lower, true, count_report, u.arg);
}

static void
check_says_what_it_finds(void **state)
{
    struct volume *volume = volume_of(192, false), *stranger;
    uint8_t *data = pattern(3 * EXTENT, 1);
    struct memory_lower *m = sealed_file(volume, data, 3 * EXTENT - 10);
    struct volume_file *file = NULL;

    stranger = volume_with(&(struct volume_options){.key_bits = 192}, &other_key);
    assert_int_equal(check(volume, m, "nothing"), VOLUME_OK);
    assert_int_equal(reported, 0);
    assert_int_equal(check(stranger, m, key.name), VOLUME_SUSPECT);

    m->length += EXTENT; /* a crash, or a kernel with larger pages */
    assert_int_equal(check(volume, m, "4096 bytes more"), VOLUME_SUSPECT);
    m->length -= 2 * EXTENT;
    assert_int_equal(check(volume, m, "cut off"), VOLUME_DAMAGED);
    m->length += EXTENT;

    m->bytes[3000] = 1;
    assert_int_equal(check(volume, m, "behind its keys"), VOLUME_SUSPECT);
    m->bytes[3000] = 0;

    m->bytes[41 + 31] ^= 1; /* AES-192's padding shows that the key is damaged */
    assert_int_equal(check(volume, m, "key is damaged"), VOLUME_DAMAGED);
    m->bytes[41 + 31] ^= 1;

    assert_int_equal(F->file_open(volume, &m->lower, &file, NULL), 0);
    assert_int_equal(F->file_write(file, data, EXTENT, 2 * EXTENT, 0, NULL), 0);
    F->file_close(file);
    m->closed = false;
    put_be64(m->bytes, 3 * EXTENT - 10);
    assert_int_equal(check(volume, m, "end in zeros"), VOLUME_SUSPECT);

    memset(m->bytes + HEADER + EXTENT, 0, EXTENT);
    memset(m->bytes + HEADER, 0, EXTENT);
    assert_int_equal(check(volume, m, NULL), VOLUME_DAMAGED);
    assert_true(reported >= 2);

    m->bytes[16] = 9;
    assert_int_equal(check(volume, m, "version 9"), VOLUME_DAMAGED);
    m->bytes[8] ^= 1;
    assert_int_equal(check(volume, m, "not an eCryptfs file"), VOLUME_FOREIGN);
    m->length = 0;
    assert_int_equal(check(volume, m, "empty"), VOLUME_SUSPECT);
    free(data);
    memory_lower_free(m);
    F->close(stranger);
    F->close(volume);
}

static void
set_up_key(struct volume_key *k, const char *passphrase)
{
    assert_int_equal(F->key_set(bytes_str(passphrase), bytes_str(""), k, NULL), 0);
}

static int
set_up(void **state)
{
    set_up_key(&key, "Test");
    set_up_key(&other_key, "Second");
    return 0;
}

static int
tear_down(void **state)
{
    secret_free(key.secret);
    secret_free(other_key.secret);
    return secret_live_count() == 0 ? 0 : -1;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_file_is_an_empty_header),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(an_aligned_overwrite_is_one_lower_write),
        cmocka_unit_test(a_durable_write_is_durable),
        cmocka_unit_test(a_size_in_an_attribute_is_synced_with_it),
        cmocka_unit_test(a_gap_reads_as_zeros),
        cmocka_unit_test(what_was_cut_off_does_not_come_back),
        cmocka_unit_test(a_lower_file_of_length_0_is_an_empty_file),
        cmocka_unit_test(a_size_beyond_the_lower_file),
        cmocka_unit_test(a_hole_is_damage_but_zeros_after_a_crash),
        cmocka_unit_test(other_headers_are_read),
        cmocka_unit_test(allocate_follows_the_format),
        cmocka_unit_test(sizes_that_the_format_has_not_are_refused),
        cmocka_unit_test(plain_files_are_shown_only_when_asked),
        cmocka_unit_test(rewrap_changes_the_first_sector_alone),
        cmocka_unit_test(rewrap_of_an_open_file_stays),
        cmocka_unit_test(rewrap_wipes_what_many_keys_left),
        cmocka_unit_test(keys_may_change_while_a_file_is_open),
        cmocka_unit_test(check_says_what_it_finds),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
