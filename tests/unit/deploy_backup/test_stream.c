/* SPDX-License-Identifier: Apache-2.0 */
/* Encrypted streams: what goes in comes out, and nothing else does. */
#include "support/memory_store.h"
#include "support/test.h"

#include "deploy/backup/stream.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct memory_store *store;
static struct keyring *keyring;
static uint32_t key_id;

static int
setup(void **state)
{
    (void)state;
    store = memory_store_new();
    assert_int_equal(store->store.load(&store->store, &keyring, NULL), COFFER_OK);
    assert_int_equal(keyring_key_add(keyring, KEY_BACKUP, "backup", "test", 1, &key_id, NULL), COFFER_OK);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    keyring_free(keyring);
    memory_store_free(store);
    return 0;
}

static int
file_of(const void *data, size_t len)
{
    char path[] = "/tmp/coffer-stream-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static uint8_t *
content_of(int fd, size_t *len)
{
    off_t end = lseek(fd, 0, SEEK_END);
    uint8_t *data = malloc((size_t)end + 1);

    *len = (size_t)end;
    assert_non_null(data);
    assert_int_equal(pread(fd, data, *len, 0), end);
    return data;
}

static uint8_t *
pattern(size_t len)
{
    uint8_t *data = malloc(len + 1);
    uint32_t x = 1;

    assert_non_null(data);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
    return data;
}

static uint8_t *
sealed_of(size_t len, size_t *sealed_len, struct stream_total *total)
{
    uint8_t *plain = pattern(len), *sealed;
    int in = file_of(plain, len), out = file_of("", 0);

    assert_int_equal(stream_seal(in, out, keyring, key_id, bytes_str("backup 1"), NULL, NULL, total, NULL), COFFER_OK);
    sealed = content_of(out, sealed_len);
    close(in);
    close(out);
    free(plain);
    return sealed;
}

static int
open_it(const uint8_t *sealed, size_t len, const char *name, uint8_t **plain, size_t *plain_len, struct coffer_error *err)
{
    int in = file_of(sealed, len), out = file_of("", 0), rc;
    struct stream_total total;

    rc = stream_open(in, out, keyring, bytes_str(name), NULL, NULL, &total, err);
    *plain = content_of(out, plain_len);
    close(in);
    close(out);
    return rc;
}

static const size_t lengths[] = {0, 1, 1048519, 1048520, 1048521, 1048520 + 1048560, 1048520 + 1048560 + 1, 5000000};

static void
every_length_comes_back(void **state)
{
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct stream_total total;
        size_t len, back_len;
        uint8_t *expect = pattern(lengths[i]), *sealed = sealed_of(lengths[i], &len, &total), *back;

        assert_int_equal(total.plain, lengths[i]);
        assert_int_equal(total.sealed, len);
        assert_int_equal(open_it(sealed, len, "backup 1", &back, &back_len, NULL), COFFER_OK);
        assert_int_equal(back_len, lengths[i]);
        assert_memory_equal(back, expect, back_len);
        free(back);
        free(expect);
        free(sealed);
    }
    (void)state;
}

static void
expect_auth(const uint8_t *sealed, size_t len, const char *name, size_t plain_max, const char *words)
{
    struct coffer_error err = {0};
    size_t back_len;
    uint8_t *back;
    int rc = open_it(sealed, len, name, &back, &back_len, &err);

    assert_int_equal(rc, COFFER_E_AUTH);
    assert_true(back_len <= plain_max);
    if (words != NULL)
        assert_non_null(strstr(err.message, words));
    free(back);
}

static void
another_name_opens_nothing(void **state)
{
    struct stream_total total;
    size_t len;
    uint8_t *sealed = sealed_of(1000, &len, &total);

    expect_auth(sealed, len, "backup 2", 0, "between bytes 104 and");
    free(sealed);
    (void)state;
}

static void
what_is_cut_off_moved_repeated_or_flipped_is_found(void **state)
{
    struct stream_total total;
    size_t len, segments = 64 + 2 * 1048576;
    uint8_t *sealed = sealed_of(3000000, &len, &total), *other = malloc(len + 1048576);

    expect_auth(sealed, segments, "backup 1", 1048520, "cut off after byte 2097216");
    expect_auth(sealed, 64 + 1048576, "backup 1", 0, "cut off after byte 1048640");
    expect_auth(sealed, len - 1, "backup 1", 1048520 + 1048560, NULL);
    expect_auth(sealed, 70, "backup 1", 0, "cut off after byte 70");
    memcpy(other, sealed, len); /* the second and the third segment change places */
    memcpy(other + 64 + 1048576, sealed + 64 + 2 * 1048576 - 100, 500000);
    expect_auth(other, len, "backup 1", 1048520, "between bytes 1048640 and 2097216");
    memcpy(other, sealed, segments); /* the second one twice */
    memcpy(other + segments, sealed + 64 + 1048576, len - 64 - 1048576);
    expect_auth(other, len + 1048576, "backup 1", 1048520 + 1048560, "between bytes 2097216");
    memcpy(other, sealed, len);
    other[len] = 0;
    expect_auth(other, len + 1, "backup 1", 1048520 + 1048560, NULL);
    for (size_t at = 65; at < len; at += 99991) {
        memcpy(other, sealed, len);
        other[at] ^= 1;
        expect_auth(other, len, "backup 1", 1048520 + 1048560, NULL);
    }
    free(other);
    free(sealed);
    (void)state;
}

static void
no_bit_of_the_head_can_change(void **state)
{
    struct stream_total total;
    size_t len;
    uint8_t *sealed = sealed_of(10, &len, &total);

    for (size_t bit = 0; bit < 65 * 8; bit++) {
        size_t back_len;
        uint8_t *back;
        int rc;

        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        rc = open_it(sealed, len, "backup 1", &back, &back_len, NULL);
        assert_true(rc == COFFER_E_FORMAT || rc == COFFER_E_KEY);
        assert_int_equal(back_len, 0);
        free(back);
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(sealed);
    (void)state;
}

struct drip {
    int fd;
    const uint8_t *data;
    size_t len;
};
static void *
drip(void *arg)
{
    struct drip *d = arg;

    for (size_t i = 0; i < d->len; i++)
        if (write(d->fd, d->data + i, 1) != 1)
            break;
    close(d->fd);
    return NULL;
}

static void
pipes_may_give_one_byte_at_a_time(void **state)
{
    uint8_t *plain = pattern(20000), *back;
    struct stream_total total;
    size_t len;
    struct drip d = {.data = plain, .len = 20000};
    int ends[2], out = file_of("", 0), again = file_of("", 0);
    pthread_t thread;

    assert_int_equal(pipe(ends), 0);
    d.fd = ends[1];
    assert_int_equal(pthread_create(&thread, NULL, drip, &d), 0);
    assert_int_equal(stream_seal(ends[0], out, keyring, key_id, bytes_str("n"), NULL, NULL, &total, NULL), COFFER_OK);
    pthread_join(thread, NULL);
    close(ends[0]);
    assert_int_equal(lseek(out, 0, SEEK_SET), 0);
    assert_int_equal(stream_open(out, again, keyring, bytes_str("n"), NULL, NULL, &total, NULL), COFFER_OK);
    back = content_of(again, &len);
    assert_int_equal(len, 20000);
    assert_memory_equal(back, plain, len);
    close(out);
    close(again);
    free(back);
    free(plain);
    (void)state;
}

static void
a_full_disk_and_a_gone_reader_are_errors(void **state)
{
    uint8_t *plain = pattern(3000000);
    struct stream_total total;
    struct coffer_error err = {0};
    int in = file_of(plain, 3000000), full = open("/dev/full", O_WRONLY), ends[2];

    assert_int_equal(stream_seal(in, full, keyring, key_id, bytes_str("n"), NULL, NULL, &total, &err), COFFER_E_IO);
    assert_non_null(strstr(err.message, "cannot write"));
    assert_int_equal(lseek(in, 0, SEEK_SET), 0);
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    assert_int_equal(stream_seal(in, ends[1], keyring, key_id, bytes_str("n"), NULL, NULL, &total, &err), COFFER_E_IO);
    close(ends[1]);
    close(in);
    close(full);
    free(plain);
    (void)state;
}

static bool
stop_at_once(void *arg, uint64_t plain)
{
    (void)arg;
    (void)plain;
    return false;
}

/* Nothing comes, nothing is asked for: it still hears that it should stop. */
static void
a_stream_that_stands_still_can_be_stopped(void **state)
{
    struct stream_total total;
    int ends[2], out = file_of("", 0);

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(stream_seal(ends[0], out, keyring, key_id, bytes_str("n"), stop_at_once, NULL, &total, NULL), COFFER_E_CANCELLED);
    close(ends[0]);
    close(ends[1]);
    close(out);
    (void)state;
}

static void
a_missing_key_is_named(void **state)
{
    struct stream_total total;
    struct coffer_error err = {0};
    struct keyring *fresh;
    uint32_t id = 0;
    char text[16];
    size_t len;
    uint8_t *sealed = sealed_of(10, &len, &total);
    int in = file_of(sealed, len), out = file_of("", 0);

    assert_int_equal(stream_key(bytes_of(sealed, len), &id, NULL), COFFER_OK);
    assert_int_equal(id, key_id);
    assert_int_equal(store->store.load(&store->store, &fresh, NULL), COFFER_OK);
    assert_int_equal(stream_open(in, out, fresh, bytes_str("backup 1"), NULL, NULL, &total, &err), COFFER_E_KEY);
    snprintf(text, sizeof text, "%08x", (unsigned)key_id);
    assert_non_null(strstr(err.message, text));
    keyring_free(fresh);
    close(in);
    close(out);
    free(sealed);
    (void)state;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_comes_back),
        cmocka_unit_test(another_name_opens_nothing),
        cmocka_unit_test(what_is_cut_off_moved_repeated_or_flipped_is_found),
        cmocka_unit_test(no_bit_of_the_head_can_change),
        cmocka_unit_test(pipes_may_give_one_byte_at_a_time),
        cmocka_unit_test(a_full_disk_and_a_gone_reader_are_errors),
        cmocka_unit_test(a_stream_that_stands_still_can_be_stopped),
        cmocka_unit_test(a_missing_key_is_named),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
