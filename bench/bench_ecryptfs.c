/* SPDX-License-Identifier: Apache-2.0 */
/* Seal and open extents of an eCryptfs file, over a lower file that takes no time, against the cipher alone on
 * as many extents: what the format adds (IVs, batches, copies) is the difference.  The floor is AES-256-CBC as
 * this build does it, in lanes where it has them; OpenSSL's, one extent after the other, is beside it. */
#include "bench.h"

#include "crypto/block.h"
#include "volume/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXTENT 4096u
#define EXTENTS_MAX 256u

struct work {
    size_t extents; /* a call */
    struct volume_file *file;
    struct block_key *key;
    struct block_unit units[EXTENTS_MAX];
    uint8_t *in, *out;
};

static void
must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench_ecryptfs: %s failed\n", what);
        exit(1);
    }
}

/* ---- a lower file that takes no time: a write goes nowhere, a read leaves what was there ---- */

static uint8_t header[8192];
static uint64_t lower_length;

static ssize_t
idle_read(struct lower *lower, const struct iovec *iov, int count, uint64_t at)
{
    ssize_t sum = 0;

    (void)lower;
    for (int i = 0; i < count; i++) {
        if (at == 0)
            memcpy(iov[i].iov_base, header,
                   iov[i].iov_len < sizeof header ? iov[i].iov_len : sizeof header);
        sum += (ssize_t)iov[i].iov_len;
    }
    return sum;
}

static int
idle_write(struct lower *lower, const struct iovec *iov, int count, uint64_t at, bool dsync)
{
    (void)lower;
    (void)dsync;
    for (int i = 0; i < count; i++) {
        if (at < sizeof header)
            memcpy(header + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
        if (at > lower_length)
            lower_length = at;
    }
    return 0;
}

static int
idle_length(struct lower *lower, uint64_t *length)
{
    (void)lower;
    *length = lower_length;
    return 0;
}

static void
idle_close(struct lower *lower)
{
    (void)lower;
}

static const struct lower_ops IDLE = {
    .read = idle_read, .write = idle_write, .length = idle_length, .close = idle_close};
static struct lower idle = {&IDLE};

/* ---- contestants ---- */

static void
run_seal(void *ctx, uint64_t times)
{
    struct work *w = ctx;

    while (times-- > 0)
        must(volume_ecryptfs.file_write(w->file, w->in, w->extents * EXTENT, 0, 0, NULL) == 0,
             "file_write");
}

static void
run_open(void *ctx, uint64_t times)
{
    struct work *w = ctx;

    while (times-- > 0)
        must(volume_ecryptfs.file_read(w->file, w->out, w->extents * EXTENT, 0, NULL) ==
                 (ssize_t)(w->extents * EXTENT),
             "file_read");
}

static void
bare(struct work *w, bool encrypt, uint64_t times)
{
    while (times-- > 0)
        must(block_cbc(w->key, encrypt, w->units, w->extents, EXTENT, NULL) == 0, "AES-256-CBC");
}

static void
run_bare_seal(void *ctx, uint64_t times)
{
    bare(ctx, true, times);
}

static void
run_bare_open(void *ctx, uint64_t times)
{
    bare(ctx, false, times);
}

static void
run_openssl_seal(void *ctx, uint64_t times)
{
    block_lanes_off(true);
    bare(ctx, true, times);
    block_lanes_off(false);
}

static void
run_openssl_open(void *ctx, uint64_t times)
{
    block_lanes_off(true);
    bare(ctx, false, times);
    block_lanes_off(false);
}

static void
prepare(struct work *w, size_t extents)
{
    w->extents = extents;
    for (size_t i = 0; i < extents; i++) {
        w->units[i] = (struct block_unit){.in = w->in + i * EXTENT, .out = w->out + i * EXTENT};
        memset(w->units[i].iv, (int)i, sizeof w->units[i].iv);
    }
}

static bool
race(struct work *w, const char *title, size_t extents, unsigned rounds, unsigned round_ms,
     double seal_min, double open_min)
{
    struct bench_contestant all[] = {
        {.name = "bare seal", .run = run_bare_seal, .ctx = w},
        {.name = "seal", .run = run_seal, .ctx = w},
        {.name = "OpenSSL seal", .run = run_openssl_seal, .ctx = w},
        {.name = "bare open", .run = run_bare_open, .ctx = w},
        {.name = "open", .run = run_open, .ctx = w},
        {.name = "OpenSSL open", .run = run_openssl_open, .ctx = w},
    };
    bool met;

    prepare(w, extents);
    bench_race(all, 6, rounds, round_ms, CLOCK_THREAD_CPUTIME_ID);
    met = bench_report(title, &all[1], &all[0], seal_min, 0);
    (void)bench_report(title, &all[2], &all[0], 0, 0);
    met &= bench_report(title, &all[4], &all[3], open_min, 0);
    (void)bench_report(title, &all[5], &all[3], 0, 0);
    return met;
}

int
main(int argc, char **argv)
{
    struct volume_options options = {.key_bits = 256};
    struct volume_key key = {0};
    struct volume *volume = NULL;
    struct work w = {.in = malloc(EXTENTS_MAX * EXTENT), .out = malloc(EXTENTS_MAX * EXTENT)};
    unsigned rounds = 11, round_ms = 40;
    bool met;

    bench_options(argc, argv, &rounds, &round_ms);
    must(w.in != NULL && w.out != NULL, "memory");
    memset(w.in, 'a', EXTENTS_MAX * EXTENT);
    memset(w.out, 'b', EXTENTS_MAX * EXTENT);
    must(volume_ecryptfs.key_set(bytes_str("Test"), bytes_str(""), &key, NULL) == 0, "key_set");
    must(volume_ecryptfs.open(&options, &key, 1, NULL, 0, &volume, NULL) == 0, "open");
    must(volume_ecryptfs.file_create(volume, &idle, &w.file, NULL) == 0, "file_create");
    must(volume_ecryptfs.file_write(w.file, w.in, EXTENTS_MAX * EXTENT, 0, 0, NULL) == 0,
         "file_write");
    must(block_key_new(BLOCK_AES, bytes_of(w.in, 32), &w.key, NULL) == 0, "block_key_new");
    if (!block_lanes_used())
        printf("no lanes here: the floor is OpenSSL\n");
    met = race(&w, "8 KiB", 2, rounds, round_ms, 0.85, 0.7);
    met &= race(&w, "64 KiB", 16, rounds, round_ms, 0.85, 0.7);
    met &= race(&w, "1 MiB", 256, rounds, round_ms, 0.85, 0.7);
    block_key_free(w.key);
    volume_ecryptfs.file_close(w.file);
    volume_ecryptfs.close(volume);
    secret_free(key.secret);
    free(w.in);
    free(w.out);
    return met ? 0 : 1;
}
