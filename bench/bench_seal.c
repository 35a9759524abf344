/* SPDX-License-Identifier: Apache-2.0 */
/* Seal and open one value, against bare AES-256-GCM of OpenSSL: one-shot, a fresh key for each
 * message (as XAES has), the context reused and the cipher fetched before, same plaintext, same
 * additional data length. */
#include "bench.h"

#include "field/field.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONG_LEN 16384
#define AAD_LEN 43 /* of a cell bound to its column */

struct work {
    struct field_def def;
    struct column_key *key;
    struct coffer_value value;
    uint8_t plain[LONG_LEN];
    uint8_t sealed[LONG_LEN + 256];
    size_t sealed_len;
    uint8_t out[LONG_LEN + 256];
    EVP_CIPHER *cipher;
    EVP_CIPHER_CTX *context;
    uint8_t bare_key[32], bare_nonce[12], aad[AAD_LEN], tag[16];
};

static void
must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench_seal: %s failed\n", what);
        exit(1);
    }
}

static void
run_seal(void *ctx, uint64_t times)
{
    struct work *w = ctx;
    size_t len;

    while (times-- > 0)
        must(field_seal(&w->def, w->key, NULL, &w->value, NULL, w->out, sizeof w->out, &len,
                        NULL) == COFFER_OK,
             "field_seal");
}

static void
run_open(void *ctx, uint64_t times)
{
    struct work *w = ctx;
    struct coffer_value value;

    while (times-- > 0)
        must(field_open(&w->def, w->key, NULL, bytes_of(w->sealed, w->sealed_len), w->out,
                        sizeof w->out, &value, NULL) == COFFER_OK,
             "field_open");
}

static void
fresh_key(struct work *w)
{
    for (size_t i = 0; ++w->bare_key[i] == 0 && i < 31; i++)
        ;
}

static void
run_bare_seal(void *ctx, uint64_t times)
{
    struct work *w = ctx;
    int len;

    while (times-- > 0) {
        fresh_key(w);
        must(EVP_EncryptInit_ex2(w->context, w->cipher, w->bare_key, w->bare_nonce, NULL) == 1 &&
                 EVP_EncryptUpdate(w->context, NULL, &len, w->aad, AAD_LEN) == 1 &&
                 EVP_EncryptUpdate(w->context, w->out, &len, w->plain, (int)w->value.len) == 1 &&
                 EVP_EncryptFinal_ex(w->context, w->out + w->value.len, &len) == 1 &&
                 EVP_CIPHER_CTX_ctrl(w->context, EVP_CTRL_AEAD_GET_TAG, 16,
                                     w->out + w->value.len) == 1,
             "AES-256-GCM");
    }
}

/* Opens with a fresh key too; the tag then does not hold, which costs the same up to the
 * comparison. */
static void
run_bare_open(void *ctx, uint64_t times)
{
    struct work *w = ctx;
    int len;

    while (times-- > 0) {
        fresh_key(w);
        must(EVP_DecryptInit_ex2(w->context, w->cipher, w->bare_key, w->bare_nonce, NULL) == 1 &&
                 EVP_CIPHER_CTX_ctrl(w->context, EVP_CTRL_AEAD_SET_TAG, 16, w->tag) == 1 &&
                 EVP_DecryptUpdate(w->context, NULL, &len, w->aad, AAD_LEN) == 1 &&
                 EVP_DecryptUpdate(w->context, w->out, &len, w->plain, (int)w->value.len) == 1 &&
                 EVP_DecryptFinal_ex(w->context, w->out, &len) != 1,
             "AES-256-GCM");
    }
}

static struct work *
work_new(size_t len)
{
    struct work *w = calloc(1, sizeof *w);
    struct secret *data_key = NULL;

    must(w != NULL && secret_new(32, &data_key, NULL) == COFFER_OK, "memory");
    w->def = (struct field_def){.column_id = {7},
                                .type = COFFER_TEXT,
                                .binding = COFFER_BIND_COLUMN,
                                .suite = COFFER_SUITE_XAES};
    must(column_key_new(data_key, 1, w->def.column_id, &w->key, NULL) == COFFER_OK,
         "column_key_new");
    secret_free(data_key);
    memset(w->plain, 'a', sizeof w->plain);
    w->value = (struct coffer_value){.type = COFFER_TEXT, .data = w->plain, .len = len};
    must(field_seal(&w->def, w->key, NULL, &w->value, NULL, w->sealed, sizeof w->sealed,
                    &w->sealed_len, NULL) == COFFER_OK,
         "field_seal");
    w->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    w->context = EVP_CIPHER_CTX_new();
    must(w->cipher != NULL && w->context != NULL, "OpenSSL");
    return w;
}

static void
work_free(struct work *w)
{
    column_key_free(w->key);
    EVP_CIPHER_CTX_free(w->context);
    EVP_CIPHER_free(w->cipher);
    free(w);
}

static bool
race(const char *title, size_t len, unsigned rounds, unsigned round_ms, double ratio_min,
     double rate_min)
{
    struct work *w = work_new(len), *bare_seal = work_new(len), *bare_open = work_new(len);
    struct bench_contestant all[] = {
        {.name = "bare", .run = run_bare_seal, .ctx = bare_seal},
        {.name = "seal", .run = run_seal, .ctx = w},
        {.name = "bare", .run = run_bare_open, .ctx = bare_open},
        {.name = "open", .run = run_open, .ctx = w},
    };
    bool met;

    bench_race(all, 4, rounds, round_ms, CLOCK_THREAD_CPUTIME_ID);
    met = bench_report(title, &all[1], &all[0], ratio_min, rate_min);
    met &= bench_report(title, &all[3], &all[2], ratio_min, rate_min);
    work_free(w);
    work_free(bare_seal);
    work_free(bare_open);
    return met;
}

int
main(int argc, char **argv)
{
    unsigned rounds = 15, round_ms = 40;
    bool met;

    bench_options(argc, argv, &rounds, &round_ms);
    met = race("32-byte text", 32, rounds, round_ms, 0.6, 1e6);
    met &= race("16 KiB text", LONG_LEN, rounds, round_ms, 0.95, 0);
    return met ? 0 : 1;
}
