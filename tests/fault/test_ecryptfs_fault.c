/* SPDX-License-Identifier: Apache-2.0 */
/* eCryptfs over a disk that fails at each call in turn, tears writes, fills up, and over memory that runs
 * out.  After any failure: the error is the disk's, the file goes on working, no byte outside of what was
 * being changed is lost, and what a re-open finds is the old size or the new one. */
#include "support/test.h"

#include "support/fault.h"
#include "support/memory_lower.h"
#include "volume/ecryptfs/ecryptfs.h"

#include <errno.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define F (&volume_ecryptfs)
#define EXTENT 4096u
#define OLD_SIZE (5 * EXTENT + 1000)

static const struct volume_options WRITES = {.key_bits = 256};
static struct volume_key keys[2];
static struct volume *volume, *xattr_volume;
static uint8_t old_content[OLD_SIZE];

/* One operation on a file of OLD_SIZE bytes; bytes outside of [from, to) must survive its failure. */
struct operation {
    const char *name;
    int (*run)(struct volume_file *file);
    uint64_t from, to, new_size;
};

static int
overwrite(struct volume_file *file)
{
    static const uint8_t DATA[2 * EXTENT] = {1, 2, 3};

    return F->file_write(file, DATA, sizeof DATA, EXTENT, 0, NULL);
}

static int
overwrite_part(struct volume_file *file)
{
    static const uint8_t DATA[EXTENT] = {1, 2, 3};

    return F->file_write(file, DATA, sizeof DATA, 5000, VOLUME_WRITE_DSYNC, NULL);
}

static int
append(struct volume_file *file)
{
    static const uint8_t DATA[3 * EXTENT] = {1, 2, 3};

    return F->file_write(file, DATA, sizeof DATA, OLD_SIZE, VOLUME_WRITE_DSYNC, NULL);
}

static int
append_much(struct volume_file *file)
{
    static const uint8_t DATA[200 * EXTENT] = {1, 2, 3};

    return F->file_write(file, DATA, sizeof DATA, OLD_SIZE, 0, NULL);
}

static int
write_beyond(struct volume_file *file)
{
    return F->file_write(file, "x", 1, 100 * EXTENT, 0, NULL);
}

static int
shrink(struct volume_file *file)
{
    return F->file_truncate(file, 2 * EXTENT + 5, NULL);
}

static int
grow(struct volume_file *file)
{
    return F->file_truncate(file, 80 * EXTENT, NULL);
}

static int
allocate(struct volume_file *file)
{
    return F->file_allocate(file, 0, 0, 20 * EXTENT, NULL);
}

static int
zero_range(struct volume_file *file)
{
    return F->file_allocate(file, FALLOC_FL_ZERO_RANGE, 100, 2 * EXTENT, NULL);
}

static int
sync_it(struct volume_file *file)
{
    return F->file_sync(file, false, NULL);
}

static const struct operation OPERATIONS[] = {
    {"overwrite", overwrite, EXTENT, 3 * EXTENT, OLD_SIZE},
    {"overwrite a part", overwrite_part, 5000, 5000 + EXTENT, OLD_SIZE},
    {"append", append, OLD_SIZE, OLD_SIZE, OLD_SIZE + 3 * EXTENT},
    {"append much", append_much, OLD_SIZE, OLD_SIZE, OLD_SIZE + 200 * EXTENT},
    {"write beyond the end", write_beyond, OLD_SIZE, OLD_SIZE, 100 * EXTENT + 1},
    {"shrink", shrink, 2 * EXTENT + 5, OLD_SIZE, 2 * EXTENT + 5},
    {"grow", grow, OLD_SIZE, OLD_SIZE, 80 * EXTENT},
    {"allocate", allocate, OLD_SIZE, OLD_SIZE, 20 * EXTENT},
    {"zero a range", zero_range, 100, 100 + 2 * EXTENT, OLD_SIZE},
    {"sync", sync_it, 0, 0, OLD_SIZE},
};

struct fixture {
    struct volume *volume;
    struct memory_lower *m;
    struct volume_file *file;
};

static void
begin(struct fixture *f, struct volume *v)
{
    f->volume = v;
    f->m = memory_lower_new();
    f->file = NULL;
    assert_int_equal(F->file_create(v, &f->m->lower, &f->file, NULL), 0);
    assert_int_equal(F->file_write(f->file, old_content, OLD_SIZE, 0, 0, NULL), 0);
}

/* The file reads, by its own idea of its size, as it was outside of the change. */
static void
assert_survived(struct volume_file *file, const struct operation *op)
{
    uint64_t size = F->file_size(file);
    uint8_t *out = malloc(size + 1);
    uint64_t end = size < OLD_SIZE ? size : OLD_SIZE;

    assert_true(size == OLD_SIZE || size == op->new_size);
    assert_int_equal(F->file_read(file, out, size + 1, 0, NULL), size);
    assert_memory_equal(out, old_content, op->from < end ? op->from : end);
    if (op->to < end)
        assert_memory_equal(out + op->to, old_content + op->to, end - op->to);
    free(out);
}

static void
end(struct fixture *f, const struct operation *op)
{
    struct coffer_error err = {0};

    assert_survived(f->file, op);
    F->file_close(f->file);
    f->m->closed = false;
    f->file = NULL;
    if (F->file_open(f->volume, &f->m->lower, &f->file, &err) != 0)
        fail_msg("after \"%s\" failed: %s", op->name, err.message);
    assert_survived(f->file, op);
    /* and it works on */
    assert_int_equal(op->run(f->file), 0);
    assert_int_equal(F->file_size(f->file), op->new_size);
    F->file_close(f->file);
    memory_lower_free(f->m);
}

static void
fail_each_call(const struct operation *op, struct volume *v, int error)
{
    struct fixture f;
    unsigned nth;

    for (nth = 1;; nth++) {
        int rc;

        begin(&f, v);
        memory_lower_fail(f.m, nth, error, 0);
        rc = op->run(f.file);
        memory_lower_fail(f.m, 0, 0, 0);
        if (rc == 0) {
            F->file_close(f.file);
            memory_lower_free(f.m);
            break;
        }
        assert_int_equal(rc, error);
        end(&f, op);
    }
    assert_true(nth > 1); /* it was really asked */
}

static void
a_disk_that_fails_at_any_call(void **state)
{
    for (size_t i = 0; i < sizeof OPERATIONS / sizeof OPERATIONS[0]; i++) {
        fail_each_call(&OPERATIONS[i], volume, -EIO);
        fail_each_call(&OPERATIONS[i], volume, -ENOSPC);
        fail_each_call(&OPERATIONS[i], xattr_volume, -EIO);
    }
}

/* A disk with room for the file as it is, and then a little more each time: growing fails as a whole. */
static void
a_disk_that_is_full(void **state)
{
    for (size_t i = 0; i < sizeof OPERATIONS / sizeof OPERATIONS[0]; i++) {
        const struct operation *op = &OPERATIONS[i];

        if (op->new_size <= OLD_SIZE)
            continue;
        for (unsigned extents = 0; extents < 9; extents += 4) {
            struct fixture f;

            begin(&f, volume);
            f.m->room_max = f.m->length + extents * EXTENT;
            if (op->run(f.file) == 0) {
                F->file_close(f.file);
                memory_lower_free(f.m);
                continue;
            }
            assert_int_equal(F->file_size(f.file), OLD_SIZE);
            f.m->room_max = 0;
            end(&f, op);
        }
    }
}

/* A write that dies in the middle: of the extents that were being written one is torn, and the file stays
 * readable everywhere else. */
static void
a_write_that_tears(void **state)
{
    static const size_t TEARS[] = {1, 512, 4096, 5000, 8000};
    struct fixture f;

    for (size_t i = 0; i < sizeof TEARS / sizeof TEARS[0]; i++) {
        uint8_t out[OLD_SIZE];

        begin(&f, volume);
        memory_lower_fail(f.m, 1, -EIO, TEARS[i]);
        assert_int_equal(overwrite(f.file), -EIO);
        memory_lower_fail(f.m, 0, 0, 0);
        assert_int_equal(F->file_read(f.file, out, OLD_SIZE, 0, NULL), OLD_SIZE);
        assert_memory_equal(out, old_content, EXTENT);
        assert_memory_equal(out + 3 * EXTENT, old_content + 3 * EXTENT, OLD_SIZE - 3 * EXTENT);
        assert_int_equal(overwrite(f.file), 0);
        F->file_close(f.file);
        memory_lower_free(f.m);
    }
}

/* Opening, looking, wrapping anew and creating, over a disk that fails at each call. */
static void
metadata_on_a_disk_that_fails(void **state)
{
    struct volume *volumes[] = {volume, xattr_volume};

    for (size_t v = 0; v < 2; v++) {
        struct volume_key swapped[2] = {keys[1], keys[0]};
        struct volume_file_info info;
        struct fixture f;
        bool changed;
        int rc;

        begin(&f, volumes[v]);
        F->file_close(f.file);
        f.m->closed = false;
        for (unsigned nth = 1; nth < 3; nth++) {
            struct volume_file *file = (void *)&f;

            memory_lower_fail(f.m, nth, -EIO, 0);
            assert_int_equal(F->file_open(volumes[v], &f.m->lower, &file, NULL), -EIO);
            assert_null(file);
            assert_false(f.m->closed);
        }
        memory_lower_fail(f.m, 1, -EIO, 0);
        assert_int_equal(F->file_info(volumes[v], &f.m->lower, &info, NULL), -EIO);
        assert_int_equal(F->change(volumes[v], &WRITES, swapped, 2, NULL, 0, NULL), 0);
        for (unsigned nth = 1;; nth++) {
            memory_lower_fail(f.m, nth, -EIO, 0);
            rc = F->file_rewrap(volumes[v], &f.m->lower, &changed, NULL);
            if (rc == 0)
                break;
            assert_int_equal(rc, -EIO);
            memory_lower_fail(f.m, 0, 0, 0);
            assert_int_equal(F->file_open(volumes[v], &f.m->lower, &f.file, NULL), 0);
            F->file_close(f.file);
            f.m->closed = false;
        }
        assert_true(changed);
        assert_int_equal(F->change(volumes[v], &WRITES, keys, 2, NULL, 0, NULL), 0);
        memory_lower_free(f.m);

        f.m = memory_lower_new();
        memory_lower_fail(f.m, 1, -ENOSPC, 0);
        f.file = (void *)&f;
        assert_int_equal(F->file_create(volumes[v], &f.m->lower, &f.file, NULL), -ENOSPC);
        assert_null(f.file);
        assert_false(f.m->closed);
        memory_lower_free(f.m);
    }
}

/* ---- memory ---- */

/* A thread of its own, so that its working memory is allocated anew. */
struct attempt {
    int (*run)(void);
    int rc;
};

static void *
attempt_thread(void *arg)
{
    struct attempt *attempt = arg;

    attempt->rc = attempt->run();
    return NULL;
}

static void
fail_each_allocation(int (*run)(void), unsigned at_least)
{
    size_t secrets = secret_live_count();
    struct attempt attempt = {run, 0};
    unsigned nth = 0;
    bool fired;

    for (;;) {
        pthread_t thread;

        fault_alloc_at(++nth);
        assert_int_equal(pthread_create(&thread, NULL, attempt_thread, &attempt), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        fired = fault_fired();
        assert_int_equal(secret_live_count(), secrets);
        if (!fired)
            break;
        /* 0: what could do without, did (the lanes of AES) */
        assert_true(attempt.rc == -ENOMEM || attempt.rc == COFFER_E_NOMEM || attempt.rc == 0);
    }
    assert_int_equal(attempt.rc, 0);
    assert_true(nth > at_least);
}

static int
whole_life(void)
{
    struct memory_lower *m = memory_lower_new();
    struct volume_options options = {.key_bits = 256, .encrypt_names = true};
    struct volume *v = NULL;
    struct volume_file *file = NULL;
    char name[VOLUME_NAME_MAX + 1];
    uint8_t out[100];
    int rc = F->open(&options, keys, 2, NULL, 0, &v, NULL);

    if (rc == 0)
        rc = F->change(v, &options, keys, 1, NULL, 0, NULL);
    if (rc == 0)
        rc = F->file_create(v, &m->lower, &file, NULL);
    if (rc == 0)
        rc = F->file_write(file, "abc", 3, 9000, 0, NULL);
    if (rc == 0 && F->file_read(file, out, sizeof out, 8950, NULL) != 53)
        rc = -ENOMEM;
    F->file_close(file);
    m->closed = false;
    file = NULL;
    if (rc == 0)
        rc = F->file_open(v, &m->lower, &file, NULL);
    F->file_close(file);
    if (rc == 0)
        rc = F->name_to_lower(v, bytes_str("name"), name, NULL);
    if (rc == 0)
        rc = F->name_to_upper(v, bytes_str("ECRYPTFS_FNEK_ENCRYPTED.x"), name, NULL) == -ENOENT
                 ? 0
                 : -1;
    F->close(v);
    memory_lower_free(m);
    return rc;
}

static int
a_key(void)
{
    struct volume_key k = {0};
    int rc = F->key_set(bytes_str("Test"), bytes_str(""), &k, NULL);

    secret_free(k.secret);
    return rc;
}

static int
wrap_and_unwrap(void)
{
    struct secret *back = NULL;
    struct buf file;
    int rc;

    buf_init(&file, ECRYPTFS_WRAPPED_MAX);
    rc = ecryptfs_wrap(bytes_str("Test"), bytes_str("login"), &file, NULL);
    if (rc == COFFER_OK)
        rc = ecryptfs_unwrap(buf_view(&file), bytes_str("login"), bytes_str(""), &back, NULL);
    secret_free(back);
    buf_wipe(&file);
    return rc;
}

static void
memory_that_runs_out(void **state)
{
    fail_each_allocation(whole_life, 10);
    fail_each_allocation(a_key, 1);
    fail_each_allocation(wrap_and_unwrap, 1);
}

/* ---- threads ---- */

struct reader {
    struct volume_file *file;
    unsigned bad;
};

static void *
read_much(void *arg)
{
    struct reader *reader = arg;
    uint8_t out[OLD_SIZE];

    for (unsigned i = 0; i < 200; i++) {
        size_t at = i * 97 % OLD_SIZE, len = (OLD_SIZE - at) / (1 + i % 3);

        if (F->file_read(reader->file, out, len, at, NULL) != (ssize_t)len ||
            memcmp(out, old_content + at, len) != 0)
            reader->bad++;
    }
    return NULL;
}

/* Many reads of one file together, and keys that change meanwhile. */
static void
many_readers_of_one_file(void **state)
{
    struct volume_key swapped[2] = {keys[1], keys[0]};
    struct reader readers[4];
    pthread_t threads[4];
    struct fixture f;

    begin(&f, volume);
    for (size_t i = 0; i < 4; i++) {
        readers[i] = (struct reader){f.file, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, read_much, &readers[i]), 0);
    }
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(F->change(volume, &WRITES, i % 2 == 0 ? swapped : keys, 2, NULL, 0, NULL),
                         0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(readers[i].bad, 0);
    }
    F->file_close(f.file);
    memory_lower_free(f.m);
}

static int
set_up(void **state)
{
    struct volume_options options = {.key_bits = 256};

    assert_int_equal(F->key_set(bytes_str("Test"), bytes_str(""), &keys[0], NULL), 0);
    assert_int_equal(F->key_set(bytes_str("Second"), bytes_str(""), &keys[1], NULL), 0);
    assert_int_equal(F->open(&options, keys, 2, NULL, 0, &volume, NULL), 0);
    options.xattr_metadata = true;
    assert_int_equal(F->open(&options, keys, 2, NULL, 0, &xattr_volume, NULL), 0);
    for (size_t i = 0; i < OLD_SIZE; i++)
        old_content[i] = (uint8_t)(i * 13 + i / 250);
    return 0;
}

static int
tear_down(void **state)
{
    F->close(volume);
    F->close(xattr_volume);
    secret_free(keys[0].secret);
    secret_free(keys[1].secret);
    return secret_live_count() == 0 ? 0 : -1;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_disk_that_fails_at_any_call),
        cmocka_unit_test(a_disk_that_is_full),
        cmocka_unit_test(a_write_that_tears),
        cmocka_unit_test(metadata_on_a_disk_that_fails),
        cmocka_unit_test(memory_that_runs_out),
        cmocka_unit_test(many_readers_of_one_file),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
