/* SPDX-License-Identifier: Apache-2.0 */
/* Numerators grow to 510 bits: GMP's low-level functions on arrays of fixed length, which take no memory from its
 * allocator. */
#include "sums/figures.h"

#include <assert.h>
#include <gmp.h>
#include <string.h>

#define LIMBS (1024 / GMP_NUMB_BITS)
#define DIGITS_MAX 320 /* of 1024 bits */

/* ---- decimal text ---- */

static int
too_large(struct coffer_error *err)
{
    return error_set(err, COFFER_E_LIMIT,
                     "a number has more than 127 bits with its decimal places");
}

static bool
push_digit(uint128 *v, unsigned digit, uint128 max)
{
    if (*v > (max - digit) / 10)
        return false;
    *v = *v * 10 + digit;
    return true;
}

int
decimal_read(struct bytes text, unsigned scale, int128 *out, struct coffer_error *err)
{
    bool negative = text.len > 0 && text.ptr[0] == '-', point = false, rest = false, fits = true;
    uint128 v = 0, max = (uint128)INT128_MAX;
    size_t i = negative, digits = 0;
    unsigned places = 0;

    *out = 0;
    for (; i < text.len; i++) {
        unsigned digit = (unsigned)text.ptr[i] - '0';

        if (text.ptr[i] == '.' && !point && digits > 0) {
            point = true;
            continue;
        }
        if (digit > 9)
            return error_set(err, COFFER_E_FORMAT, "not a decimal number");
        digits++;
        if (point && places == scale) {
            rest = rest || digit != 0;
            continue;
        }
        places += point;
        fits = fits && push_digit(&v, digit, max);
    }
    if (digits == 0)
        return error_set(err, COFFER_E_FORMAT, "not a decimal number");
    for (; fits && places < scale; places++)
        fits = push_digit(&v, 0, max);
    if (!fits)
        return too_large(err);
    if (rest)
        return error_set(err, COFFER_E_RANGE,
                         "a number has more than the %u decimal places that its column declares",
                         scale);
    *out = negative ? -(int128)v : (int128)v;
    return COFFER_OK;
}

static void
write_digits(const char *digits, size_t count, bool negative, unsigned places, struct buf *out)
{
    size_t whole = count > places ? count - places : 0;

    if (negative && strspn(digits, "0") < count)
        buf_str(out, "-");
    buf_add(out, whole > 0 ? digits : "0", whole > 0 ? whole : 1);
    if (places == 0)
        return;
    buf_str(out, ".");
    for (size_t i = count; i < places; i++)
        buf_str(out, "0");
    buf_add(out, digits + whole, count - whole);
}

void
decimal_write(int128 value, unsigned scale, struct buf *out)
{
    char text[INT128_TEXT_MAX];
    bool negative = value < 0;

    int128_format(value, text);
    write_digits(text + negative, strlen(text) - negative, negative, scale, out);
}

/* ---- totals ---- */

static int
sum_too_large(struct coffer_error *err)
{
    return error_set(err, COFFER_E_LIMIT, "a figure of totals has more than 127 bits");
}

int
total_add(int128 a, int128 b, int128 *out, struct coffer_error *err)
{
    return __builtin_add_overflow(a, b, out) ? sum_too_large(err) : COFFER_OK;
}

int
total_subtract(int128 a, int128 b, int128 *out, struct coffer_error *err)
{
    return __builtin_sub_overflow(a, b, out) ? sum_too_large(err) : COFFER_OK;
}

int
total_multiply(int128 a, int128 b, int128 *out, struct coffer_error *err)
{
    return __builtin_mul_overflow(a, b, out) ? sum_too_large(err) : COFFER_OK;
}

/* ---- exact quotients ---- */

struct number { /* of `n` limbs, the highest not zero; 0 has none */
    mp_limb_t d[LIMBS];
    mp_size_t n;
};

static void
trim(struct number *a)
{
    while (a->n > 0 && a->d[a->n - 1] == 0)
        a->n--;
}

static void
from_uint128(struct number *a, uint128 v)
{
    for (a->n = 0; v != 0; v >>= GMP_NUMB_BITS / 2, v >>= GMP_NUMB_BITS / 2)
        a->d[a->n++] = (mp_limb_t)v;
}

static void
times(struct number *a, const struct number *b)
{
    struct number product;

    if (a->n == 0 || b->n == 0) {
        a->n = 0;
        return;
    }
    assert(a->n + b->n <= LIMBS);
    (void)mpn_mul(product.d, a->n >= b->n ? a->d : b->d, a->n >= b->n ? a->n : b->n,
                  a->n >= b->n ? b->d : a->d, a->n >= b->n ? b->n : a->n);
    product.n = a->n + b->n;
    trim(&product);
    *a = product;
}

static void
times_ten_to(struct number *a, unsigned exponent)
{
    struct number ten;

    for (from_uint128(&ten, 10); exponent > 0; exponent--)
        times(a, &ten);
}

/* a + b; there is room. */
static void
plus(struct number *a, const struct number *b)
{
    mp_size_t n = a->n >= b->n ? a->n : b->n;
    mp_limb_t carry;

    assert(n < LIMBS);
    mpn_zero(a->d + a->n, n - a->n);
    carry = b->n > 0 ? mpn_add(a->d, a->d, n, b->d, b->n) : 0;
    a->d[n] = carry;
    a->n = n + 1;
    trim(a);
}

/* a - b; false if b is larger. */
static bool
minus(struct number *a, const struct number *b)
{
    if (b->n > a->n || (b->n == a->n && a->n > 0 && mpn_cmp(a->d, b->d, a->n) < 0))
        return false;
    if (b->n > 0)
        (void)mpn_sub(a->d, a->d, a->n, b->d, b->n);
    trim(a);
    return true;
}

/* The whole part of a / b; b is not 0. */
static void
divide(struct number *a, const struct number *b)
{
    struct number quotient, rest;

    if (a->n < b->n) {
        a->n = 0;
        return;
    }
    mpn_tdiv_qr(quotient.d, rest.d, 0, a->d, a->n, b->d, b->n);
    quotient.n = a->n - b->n + 1;
    trim(&quotient);
    *a = quotient;
}

static void
write_number(struct number *a, bool negative, unsigned places, struct buf *out)
{
    unsigned char text[DIGITS_MAX + LIMBS];
    size_t count = 0, first = 0;

    if (a->n > 0)
        count = mpn_get_str(text, 10, a->d, a->n);
    while (first < count && text[first] == 0)
        first++;
    for (size_t i = first; i < count; i++)
        text[i] = (unsigned char)(text[i] + '0');
    text[count] = '\0';
    write_digits((const char *)text + first, count - first, negative, places, out);
}

/* numerator·10^places / denominator, half up. */
static void
write_quotient(struct number *numerator, struct number *denominator, bool negative, unsigned places,
               struct buf *out)
{
    struct number two;

    from_uint128(&two, 2);
    times_ten_to(numerator, places);
    times(numerator, &two);
    plus(numerator, denominator);
    times(denominator, &two);
    divide(numerator, denominator);
    write_number(numerator, negative, places, out);
}

int
average_write(int128 sum, uint64_t rows, unsigned scale, unsigned places, struct buf *out,
              struct coffer_error *err)
{
    struct number numerator, denominator;

    if (rows == 0 || scale > FIGURES_SCALE_MAX || places > FIGURES_SCALE_MAX)
        return error_set(err, COFFER_E_MISUSE,
                         "an average is of one row or more, with at most %d places",
                         FIGURES_SCALE_MAX);
    from_uint128(&numerator, uint128_abs(sum));
    from_uint128(&denominator, rows);
    times_ten_to(&denominator, scale);
    write_quotient(&numerator, &denominator, sum < 0, places, out);
    return buf_status(out, err);
}

/* sqrt(numerator·10^(2·places) / denominator), half up: (⌊√⌊4x⌋⌋ + 1) / 2. */
static void
write_root(struct number *numerator, const struct number *denominator, unsigned places,
           struct buf *out)
{
    struct number four, one, two, root;

    from_uint128(&one, 1);
    from_uint128(&two, 2);
    from_uint128(&four, 4);
    times_ten_to(numerator, 2 * places);
    times(numerator, &four);
    divide(numerator, denominator);
    root.n = 0;
    if (numerator->n > 0) {
        root.n = (numerator->n + 1) / 2;
        (void)mpn_sqrtrem(root.d, NULL, numerator->d, numerator->n);
        trim(&root);
    }
    plus(&root, &one);
    divide(&root, &two);
    write_number(&root, false, places, out);
}

int
spread_write(enum spread kind, int128 sum, int128 sum_of_squares, uint64_t rows, unsigned scale,
             unsigned places, struct buf *out, struct coffer_error *err)
{
    bool sample = kind == VARIANCE_SAMPLE || kind == DEVIATION_SAMPLE;
    struct number numerator, denominator, factor;

    if (rows < (sample ? 2 : 1) || scale > FIGURES_SCALE_MAX || places > FIGURES_SCALE_MAX)
        return error_set(err, COFFER_E_MISUSE,
                         "a variance is of one row or more (of a sample two), with at most %d "
                         "places",
                         FIGURES_SCALE_MAX);
    /* n·Σx² - (Σx)² */
    from_uint128(&numerator, uint128_abs(sum_of_squares));
    from_uint128(&factor, rows);
    times(&numerator, &factor);
    from_uint128(&factor, uint128_abs(sum));
    times(&factor, &factor);
    if (sum_of_squares < 0 || !minus(&numerator, &factor))
        return error_set(err, COFFER_E_AUTH,
                         "no numbers have this sum and this sum of squares: the columns were not "
                         "written together, or not of the same rows");
    from_uint128(&denominator, rows);
    from_uint128(&factor, sample ? rows - 1 : rows);
    times(&denominator, &factor);
    times_ten_to(&denominator, 2 * scale);
    if (kind == VARIANCE_POPULATION || kind == VARIANCE_SAMPLE)
        write_quotient(&numerator, &denominator, false, places, out);
    else
        write_root(&numerator, &denominator, places, out);
    return buf_status(out, err);
}
