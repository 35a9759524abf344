/* SPDX-License-Identifier: Apache-2.0 */
/* Random writes, truncates, allocations, re-opens and rewraps against a plain buffer, compared after every
 * step; on a lower file in memory and on a real one.
 *
 *   test_ecryptfs_random [STEPS [SEED]] */
#include "support/test.h"

#include "support/memory_lower.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define F (&volume_ecryptfs)
#define EXTENT 4096u
#define SIZE_MAX_HERE (150u * EXTENT)

static struct volume_key keys[2];
static unsigned long steps = 400;
static uint64_t random_state;

/* xorshift64*: repeatability matters, quality does not. */
static uint64_t
below(uint64_t n)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (random_state * 0x2545f4914f6cdd1d >> 16) % n;
}

struct run {
    struct volume_options options;
    struct volume *volume;
    struct memory_lower *memory; /* or */
    char path[64];
    struct volume_file *file;
    unsigned first_key;
    uint8_t model[SIZE_MAX_HERE];
    uint64_t size;
};

static struct lower *
lower_again(struct run *run)
{
    struct lower *lower = NULL;

    if (run->memory != NULL) {
        run->memory->closed = false;
        return &run->memory->lower;
    }
    assert_int_equal(
        lower_fd_open(open(run->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), &lower, NULL), 0);
    return lower;
}

static void
reopen(struct run *run)
{
    struct coffer_error err = {0};

    F->file_close(run->file);
    if (F->file_open(run->volume, lower_again(run), &run->file, &err) != 0)
        fail_msg("%s", err.message);
}

/* Positions and lengths that matter: near the ends of extents and of the file. */
static uint64_t
position(const struct run *run)
{
    uint64_t at;

    switch (below(4)) {
    case 0:
        at = below(SIZE_MAX_HERE / EXTENT) * EXTENT;
        break;
    case 1:
        at = run->size + below(3) - 1;
        break;
    case 2:
        at = below(SIZE_MAX_HERE / EXTENT) * EXTENT + below(5) - 2;
        break;
    default:
        at = below(run->size + 2 * EXTENT);
    }
    return at < SIZE_MAX_HERE ? at : below(SIZE_MAX_HERE);
}

static uint64_t
length_at(uint64_t at)
{
    static const unsigned LENGTHS[] = {1,          16,         100,  EXTENT - 1,  EXTENT,
                                       EXTENT + 1, 2 * EXTENT, 8192, 20 * EXTENT, 100 * EXTENT};
    uint64_t len =
        below(2) == 0 ? LENGTHS[below(sizeof LENGTHS / sizeof LENGTHS[0])] : 1 + below(3 * EXTENT);

    return at + len <= SIZE_MAX_HERE ? len : SIZE_MAX_HERE - at;
}

static void
step_write(struct run *run)
{
    static uint8_t data[SIZE_MAX_HERE];
    uint64_t at = position(run), len = length_at(at), end = at + len;
    unsigned flags = below(8) == 0 ? VOLUME_WRITE_DSYNC : 0;

    for (uint64_t i = 0, x = below(UINT32_MAX); i < len; i++, x = x * 6364136223846793005u + 1)
        data[i] = (uint8_t)(x >> 33);
    assert_int_equal(F->file_write(run->file, data, len, at, flags, NULL), 0);
    memcpy(run->model + at, data, len);
    if (end > run->size)
        run->size = end;
}

static void
step_truncate(struct run *run)
{
    uint64_t size = position(run);

    assert_int_equal(F->file_truncate(run->file, size, NULL), 0);
    if (size < run->size)
        memset(run->model + size, 0, run->size - size);
    run->size = size;
}

static void
step_allocate(struct run *run)
{
    uint64_t at = position(run), len = length_at(at);
    int mode = (int)(below(2) * FALLOC_FL_ZERO_RANGE | below(2) * FALLOC_FL_KEEP_SIZE);

    assert_int_equal(F->file_allocate(run->file, mode, at, len, NULL), 0);
    if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && at + len > run->size)
        run->size = at + len;
    if ((mode & FALLOC_FL_ZERO_RANGE) != 0 && at < run->size)
        memset(run->model + at, 0, at + len < run->size ? len : run->size - at);
}

static void
step_rewrap(struct run *run)
{
    struct volume_key both[2] = {keys[run->first_key ^ 1], keys[run->first_key]};
    bool changed;

    run->first_key ^= 1;
    assert_int_equal(F->change(run->volume, &run->options, both, 2, NULL, 0, NULL), 0);
    assert_int_equal(F->file_rewrap(run->volume, F->file_lower(run->file), &changed, NULL), 0);
    assert_true(changed);
}

static void
compare(struct run *run, uint64_t at, uint64_t len)
{
    static uint8_t out[SIZE_MAX_HERE + 1];
    uint64_t due = at >= run->size ? 0 : at + len < run->size ? len : run->size - at;

    assert_int_equal(F->file_size(run->file), run->size);
    assert_int_equal(F->file_read(run->file, out, len, at, NULL), due);
    assert_memory_equal(out, run->model + at, due);
}

static void
assert_healthy(void *arg, enum volume_damage damage, const char *message)
{
    fail_msg("%s (%d)", message, (int)damage);
}

static void
step(struct run *run, unsigned long n)
{
    switch (below(12)) {
    case 0:
    case 1:
        step_truncate(run);
        break;
    case 2:
        step_allocate(run);
        break;
    case 3:
        step_rewrap(run);
        break;
    case 4:
        reopen(run);
        break;
    case 5:
        assert_int_equal(F->file_sync(run->file, below(2), NULL), 0);
        break;
    default:
        step_write(run);
    }
    compare(run, position(run), length_at(0));
    if (n % 50 == 0) {
        compare(run, 0, SIZE_MAX_HERE + 1);
        assert_int_equal(
            F->file_check(run->volume, F->file_lower(run->file), true, assert_healthy, NULL),
            VOLUME_OK);
    }
}

static void
run_all(unsigned key_bits, bool xattr, bool real, uint64_t seed)
{
    static struct run run;

    print_message("%u bits, %s, %s, seed %#lx\n", key_bits, xattr ? "attribute" : "header",
                  real ? "a real file" : "memory", (unsigned long)seed);
    memset(&run, 0, sizeof run);
    run.options = (struct volume_options){.key_bits = key_bits, .xattr_metadata = xattr};
    random_state = seed;
    (void)snprintf(run.path, sizeof run.path, "ecryptfs_random.%d", (int)getpid());
    if (!real)
        run.memory = memory_lower_new();
    assert_int_equal(F->open(&run.options, keys, 2, NULL, 0, &run.volume, NULL), 0);
    assert_int_equal(F->file_create(run.volume, lower_again(&run), &run.file, NULL), 0);
    for (unsigned long n = 1; n <= steps; n++)
        step(&run, n);
    reopen(&run);
    compare(&run, 0, SIZE_MAX_HERE + 1);
    F->file_close(run.file);
    memory_lower_free(run.memory);
    if (real)
        assert_int_equal(unlink(run.path), 0);
    F->close(run.volume);
}

static uint64_t first_seed = 0x9e3779b97f4a7c15;

static void
any_sequence_reads_as_a_plain_buffer(void **state)
{
    uint64_t seed = first_seed;

    for (unsigned bits = 128; bits <= 256; bits += 64)
        for (int xattr = 0; xattr < 2; xattr++)
            run_all(bits, xattr, false, seed += 2);
}

static void
and_so_on_a_real_file(void **state)
{
    char path[64];
    int fd;

    run_all(256, false, true, first_seed + 100);
    (void)snprintf(path, sizeof path, "ecryptfs_random.%d", (int)getpid());
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    if (fsetxattr(fd, "user.coffer_test", "1", 1, 0) == 0)
        run_all(192, true, true, first_seed + 102);
    else
        print_message("no user attributes on this filesystem\n");
    (void)close(fd);
    (void)unlink(path);
}

static int
set_up(void **state)
{
    return F->key_set(bytes_str("Test"), bytes_str(""), &keys[0], NULL) |
           F->key_set(bytes_str("Second"), bytes_str(""), &keys[1], NULL);
}

static int
tear_down(void **state)
{
    secret_free(keys[0].secret);
    secret_free(keys[1].secret);
    return secret_live_count() == 0 ? 0 : -1;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_sequence_reads_as_a_plain_buffer),
        cmocka_unit_test(and_so_on_a_real_file),
    };

    if (argc > 1)
        steps = strtoul(argv[1], NULL, 0);
    if (argc > 2)
        first_seed = strtoull(argv[2], NULL, 0) | 1;
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
