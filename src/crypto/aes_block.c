/* SPDX-License-Identifier: Apache-2.0 */
/* The two ways to a block of AES.  A schedule made by one way must be used by the same, so each
 * carries which: `rounds` with the top bit set belongs to OpenSSL. */
#define OPENSSL_SUPPRESS_DEPRECATED /* AES_encrypt(): no allocation, cannot fail */
#include "crypto/aes_block.h"

#include <openssl/aes.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define BY_OPENSSL 0x80000000u

static void
software_schedule(struct aes_schedule *schedule, const uint8_t *key, size_t len)
{
    memcpy(schedule->round, key, len);
    schedule->rounds = (len == 16 ? 10 : 14) | BY_OPENSSL;
}

static void
software_blocks(const struct aes_schedule *schedule, const uint8_t *in, uint8_t *out, size_t count)
{
    AES_KEY key;

    (void)AES_set_encrypt_key(schedule->round[0],
                              (schedule->rounds & ~BY_OPENSSL) == 10 ? 128 : 256, &key);
    for (size_t i = 0; i < count; i++)
        AES_encrypt(in + 16 * i, out + 16 * i, &key);
    OPENSSL_cleanse(&key, sizeof key);
}

#if defined(__x86_64__)

static atomic_int hardware = -1; /* -1: not asked yet */

bool
aes_block_hardware(void)
{
    int known = atomic_load_explicit(&hardware, memory_order_relaxed);

    if (__builtin_expect(known < 0, 0)) {
        known = __builtin_cpu_supports("aes") && __builtin_cpu_supports("ssse3");
        atomic_store_explicit(&hardware, known, memory_order_relaxed);
    }
    return known != 0;
}

void
aes_block_hardware_off(bool off)
{
    atomic_store(&hardware, off ? 0 : -1);
}

#define AESNI __attribute__((target("aes,ssse3")))

/* One step of the AES-128 key expansion.  With the same word in all four columns ShiftRows moves
 * nothing, so that AESENCLAST is SubWord xor the constant, at a third of the latency of
 * AESKEYGENASSIST. */
AESNI static inline __m128i
expand(__m128i key, __m128i word, __m128i constant)
{
    __m128i sub = _mm_aesenclast_si128(_mm_shuffle_epi8(key, word), constant);

    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
    return _mm_xor_si128(key, sub);
}

#define ROTATE_LAST _mm_set1_epi32(0x0c0f0e0d) /* RotWord of the last word, in all columns */
#define LAST _mm_set1_epi32(0x0f0e0d0c)        /* the last word as it is */

static const uint8_t CONSTANTS[10] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36};

AESNI static void
hardware_schedule128(struct aes_schedule *schedule, const uint8_t key[16])
{
    __m128i k = _mm_loadu_si128((const __m128i *)(const void *)key);

    _mm_storeu_si128((__m128i *)(void *)schedule->round[0], k);
    for (int i = 0; i < 10; i++) {
        k = expand(k, ROTATE_LAST, _mm_set1_epi32(CONSTANTS[i]));
        _mm_storeu_si128((__m128i *)(void *)schedule->round[i + 1], k);
    }
    schedule->rounds = 10;
}

AESNI static void
hardware_schedule256(struct aes_schedule *schedule, const uint8_t key[32])
{
    __m128i even = _mm_loadu_si128((const __m128i *)(const void *)key);
    __m128i odd = _mm_loadu_si128((const __m128i *)(const void *)(key + 16));

    _mm_storeu_si128((__m128i *)(void *)schedule->round[0], even);
    _mm_storeu_si128((__m128i *)(void *)schedule->round[1], odd);
    for (int i = 0; i < 7; i++) {
        __m128i sub =
            _mm_aesenclast_si128(_mm_shuffle_epi8(odd, ROTATE_LAST), _mm_set1_epi32(CONSTANTS[i]));

        even = _mm_xor_si128(even, _mm_slli_si128(even, 4));
        even = _mm_xor_si128(even, _mm_slli_si128(even, 8));
        even = _mm_xor_si128(even, sub);
        _mm_storeu_si128((__m128i *)(void *)schedule->round[2 * i + 2], even);
        if (i == 6)
            break;
        sub = _mm_aesenclast_si128(_mm_shuffle_epi8(even, LAST), _mm_setzero_si128());
        odd = _mm_xor_si128(odd, _mm_slli_si128(odd, 4));
        odd = _mm_xor_si128(odd, _mm_slli_si128(odd, 8));
        odd = _mm_xor_si128(odd, sub);
        _mm_storeu_si128((__m128i *)(void *)schedule->round[2 * i + 3], odd);
    }
    schedule->rounds = 14;
}

/* Eight blocks at a time hide the latency of the instructions. */
AESNI static void
hardware_blocks(const struct aes_schedule *schedule, const uint8_t *in, uint8_t *out, size_t count)
{
    const __m128i *key = (const __m128i *)(const void *)schedule->round;
    __m128i b[8];
    size_t n;

    for (; count > 0; count -= n, in += 16 * n, out += 16 * n) {
        n = count < 8 ? count : 8;
        if (n == 8) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++)
                b[i] = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)in + i),
                                     _mm_loadu_si128(key));
            for (uint32_t r = 1; r < schedule->rounds; r++) {
                __m128i k = _mm_loadu_si128(key + r);

#pragma GCC unroll 8
                for (int i = 0; i < 8; i++)
                    b[i] = _mm_aesenc_si128(b[i], k);
            }
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++)
                _mm_storeu_si128(
                    (__m128i *)(void *)out + i,
                    _mm_aesenclast_si128(b[i], _mm_loadu_si128(key + schedule->rounds)));
        } else {
            n = 1;
            b[0] = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)in),
                                 _mm_loadu_si128(key));
            for (uint32_t r = 1; r < schedule->rounds; r++)
                b[0] = _mm_aesenc_si128(b[0], _mm_loadu_si128(key + r));
            _mm_storeu_si128((__m128i *)(void *)out,
                             _mm_aesenclast_si128(b[0], _mm_loadu_si128(key + schedule->rounds)));
        }
    }
}

/* Expansion and encryption side by side: the block waits for each round key anyway. */
AESNI static void
hardware_once128(const uint8_t key[16], const uint8_t in[16], uint8_t out[16])
{
    const __m128i word = ROTATE_LAST;
    __m128i k = _mm_loadu_si128((const __m128i *)(const void *)key);
    __m128i b = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)in), k);

#define ROUND(constant)                                                                            \
    k = expand(k, word, _mm_set1_epi32(constant));                                                 \
    b = _mm_aesenc_si128(b, k)
    ROUND(0x01);
    ROUND(0x02);
    ROUND(0x04);
    ROUND(0x08);
    ROUND(0x10);
    ROUND(0x20);
    ROUND(0x40);
    ROUND(0x80);
    ROUND(0x1b);
#undef ROUND
    k = expand(k, word, _mm_set1_epi32(0x36));
    _mm_storeu_si128((__m128i *)(void *)out, _mm_aesenclast_si128(b, k));
}

void
aes128_schedule(struct aes_schedule *schedule, const uint8_t key[16])
{
    if (aes_block_hardware())
        hardware_schedule128(schedule, key);
    else
        software_schedule(schedule, key, 16);
}

void
aes256_schedule(struct aes_schedule *schedule, const uint8_t key[32])
{
    if (aes_block_hardware())
        hardware_schedule256(schedule, key);
    else
        software_schedule(schedule, key, 32);
}

void
aes_blocks(const struct aes_schedule *schedule, const uint8_t *in, uint8_t *out, size_t count)
{
    if ((schedule->rounds & BY_OPENSSL) == 0)
        hardware_blocks(schedule, in, out, count);
    else
        software_blocks(schedule, in, out, count);
}

void
aes128_once(const uint8_t key[16], const uint8_t in[16], uint8_t out[16])
{
    struct aes_schedule schedule;

    if (aes_block_hardware()) {
        hardware_once128(key, in, out);
        return;
    }
    software_schedule(&schedule, key, 16);
    software_blocks(&schedule, in, out, 1);
    OPENSSL_cleanse(&schedule, sizeof schedule);
}

#else

bool
aes_block_hardware(void)
{
    return false;
}

void
aes_block_hardware_off(bool off)
{
    (void)off;
}

void
aes128_schedule(struct aes_schedule *schedule, const uint8_t key[16])
{
    software_schedule(schedule, key, 16);
}

void
aes256_schedule(struct aes_schedule *schedule, const uint8_t key[32])
{
    software_schedule(schedule, key, 32);
}

void
aes_blocks(const struct aes_schedule *schedule, const uint8_t *in, uint8_t *out, size_t count)
{
    software_blocks(schedule, in, out, count);
}

void
aes128_once(const uint8_t key[16], const uint8_t in[16], uint8_t out[16])
{
    struct aes_schedule schedule;

    software_schedule(&schedule, key, 16);
    software_blocks(&schedule, in, out, 1);
    OPENSSL_cleanse(&schedule, sizeof schedule);
}

#endif
