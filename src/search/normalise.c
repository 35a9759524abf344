/* SPDX-License-Identifier: Apache-2.0 */
/* The maps run one by one, as D146 writes them: one combined call of utf8proc gives other results
 * for U+0345 and U+037A. */
#include "search/normalise.h"

#include "base/mem.h"
#include "base/secret.h"

#include <string.h>
#include <utf8proc.h>

#define TEXT_MAX (64u << 20)
#define REMOVED_CLASS 200 /* of accentless: below are kana voicing, Indic and Hebrew signs */

static const char *const NAMES[NORMALISERS] = {"exact", "canonical", "caseless", "accentless",
                                               "digits"};

const char *
normaliser_name(int id)
{
    return id >= 0 && id < NORMALISERS ? NAMES[id] : "?";
}

int
normaliser_parse(const char *name)
{
    for (int i = 0; name != NULL && i < NORMALISERS; i++) {
        if (strcmp(NAMES[i], name) == 0)
            return i;
    }
    return -1;
}

const char *
normalise_unicode(void)
{
    return utf8proc_unicode_version();
}

void
points_wipe(struct points *points)
{
    if (points->at != NULL)
        wipe(points->at, points->room * sizeof *points->at);
    mem_free(points->at);
    *points = (struct points){0};
}

/* Room for `count` code points; what was there is lost. */
static bool
points_room(struct points *points, size_t count)
{
    if (points->room >= count && points->at != NULL)
        return true;
    points_wipe(points);
    points->at = mem_array(count + 1, sizeof *points->at);
    points->room = points->at != NULL ? count + 1 : 0;
    return points->at != NULL;
}

void
points_encode(const int32_t *points, size_t count, struct buf *out)
{
    uint8_t utf8[4];

    for (size_t i = 0; i < count; i++)
        buf_add(out, utf8, (size_t)utf8proc_encode_char(points[i], utf8));
}

static bool
ascii(struct bytes text)
{
    uint8_t any = 0;

    for (size_t i = 0; i < text.len; i++)
        any |= text.ptr[i];
    return any < 0x80;
}

static void
decode(struct bytes text, struct points *out)
{
    size_t at = 0;

    out->count = 0;
    while (at < text.len) {
        utf8proc_ssize_t n = utf8proc_iterate(text.ptr + at, (utf8proc_ssize_t)(text.len - at),
                                              &out->at[out->count]);

        if (n <= 0) /* uncovered: the text was checked */
            break;
        out->count++;
        at += (size_t)n;
    }
}

static int
combining_class(int32_t point)
{
    return utf8proc_get_property(point)->combining_class;
}

#define SORT_PLAIN_MAX 32

/* A long run of marks, by counting: sorting by exchanges would take time as its square.  False when
 * out of memory. */
static bool
order_long_run(int32_t *run, size_t len, struct points *scratch)
{
    size_t starts[256] = {0}, sum = 0;

    if (!points_room(scratch, len))
        return false;
    for (size_t i = 0; i < len; i++)
        starts[combining_class(run[i]) & 0xff]++;
    for (int mark = 0; mark < 256; mark++) {
        size_t count = starts[mark];

        starts[mark] = sum;
        sum += count;
    }
    for (size_t i = 0; i < len; i++)
        scratch->at[starts[combining_class(run[i]) & 0xff]++] = run[i];
    memcpy(run, scratch->at, len * sizeof *run);
    return true;
}

static void
order_short_run(int32_t *run, size_t len)
{
    for (size_t i = 1; i < len; i++) {
        int32_t point = run[i];
        int mark = combining_class(point);
        size_t j = i;

        for (; j > 0 && combining_class(run[j - 1]) > mark; j--)
            run[j] = run[j - 1];
        run[j] = point;
    }
}

/* Canonical ordering: a stable sort of each run of marks by combining class (UAX #15, D108). */
static bool
order_marks(struct points *p, struct points *scratch)
{
    size_t i = 0, end;

    for (; i < p->count; i = end) {
        for (end = i; end < p->count && combining_class(p->at[end]) != 0; end++)
            ;
        if (end - i > SORT_PLAIN_MAX) {
            if (!order_long_run(p->at + i, end - i, scratch))
                return false;
        } else if (end - i > 1) {
            order_short_run(p->at + i, end - i);
        }
        end += end == i; /* no mark here */
    }
    return true;
}

/* One map over all code points, from `p` through `spare` back into `p`.  False when out of memory.
 */
static bool
map(struct points *p, struct points *spare, int options)
{
    size_t room = p->count * 2 + 16, at = 0, i = 0;

    if (!points_room(spare, room))
        return false;
    while (i < p->count) {
        int boundary = 0;
        utf8proc_ssize_t n = utf8proc_decompose_char(
            p->at[i], spare->at + at, (utf8proc_ssize_t)(spare->room - at), options, &boundary);

        if (n < 0) /* uncovered: nothing is refused without REJECTNA */
            return false;
        if ((size_t)n > spare->room - at) { /* U+FDFA alone becomes 18 */
            size_t more = spare->room * 2 + (size_t)n;
            int32_t *grown = mem_array(more, sizeof *grown);

            if (grown == NULL)
                return false;
            memcpy(grown, spare->at, at * sizeof *grown);
            points_wipe(spare);
            spare->at = grown;
            spare->room = more;
            continue;
        }
        at += (size_t)n;
        i++;
    }
    spare->count = at;
    if ((options & UTF8PROC_DECOMPOSE) != 0 && !order_marks(spare, p))
        return false;
    {
        struct points swap = *p;

        *p = *spare;
        *spare = swap;
    }
    return true;
}

static void
drop_edges(struct points *p, unsigned edges)
{
    size_t lead = 0;

    while ((edges & EDGE_OPEN_RIGHT) != 0 && p->count > 0 &&
           combining_class(p->at[p->count - 1]) != 0)
        p->count--;
    while ((edges & EDGE_OPEN_LEFT) != 0 && lead < p->count && combining_class(p->at[lead]) != 0)
        lead++;
    memmove(p->at, p->at + lead, (p->count - lead) * sizeof *p->at);
    p->count -= lead;
}

static bool
fold(struct points *p, struct points *spare, unsigned edges)
{
    const int nfkd = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;

    for (int i = 0; i < 2; i++) {
        if (!map(p, spare, UTF8PROC_STABLE | UTF8PROC_CASEFOLD) || !map(p, spare, nfkd))
            return false;
        drop_edges(p, edges);
    }
    return true;
}

static void
keep_unaccented(struct points *p)
{
    size_t kept = 0;

    for (size_t i = 0; i < p->count; i++) {
        if (combining_class(p->at[i]) < REMOVED_CLASS)
            p->at[kept++] = p->at[i];
    }
    p->count = kept;
}

static bool
decimal_digit(int32_t point)
{
    return utf8proc_category(point) == UTF8PROC_CATEGORY_ND;
}

/* Decimal digits stand in runs of ten from zero, and ranges of several runs start a run. */
static void
keep_digits(struct points *p)
{
    size_t kept = 0;

    for (size_t i = 0; i < p->count; i++) {
        int32_t first = p->at[i];

        if (!decimal_digit(first))
            continue;
        while (first > 0 && decimal_digit(first - 1))
            first--;
        p->at[kept++] = '0' + (p->at[i] - first) % 10;
    }
    p->count = kept;
}

/* What all the maps come to for ASCII, which most text is. */
static void
map_ascii(int normaliser, struct bytes text, struct points *p)
{
    p->count = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];

        if (normaliser >= NORMALISE_CASELESS && c >= 'A' && c <= 'Z')
            c = (uint8_t)(c + ('a' - 'A'));
        if (normaliser != NORMALISE_DIGITS || (c >= '0' && c <= '9'))
            p->at[p->count++] = c;
    }
}

int
normalise_points(int normaliser, unsigned edges, struct bytes text, struct points *out,
                 struct coffer_error *err)
{
    struct points spare = {0};
    bool ok = true;

    out->count = 0;
    if (normaliser < 0 || normaliser >= NORMALISERS)
        return error_set(err, COFFER_E_MISUSE, "normaliser %d is unknown", normaliser);
    if (text.len > TEXT_MAX)
        return error_set(err, COFFER_E_LIMIT, "a text of %zu bytes; at most %u are possible",
                         text.len, TEXT_MAX);
    if (!utf8_valid(text))
        return error_set(err, COFFER_E_FORMAT, "the text is ill-formed UTF-8");
    if (!points_room(out, text.len))
        return error_nomem(err);
    if (ascii(text)) {
        map_ascii(normaliser, text, out);
        return COFFER_OK;
    }
    decode(text, out);
    if (normaliser != NORMALISE_EXACT) {
        ok = map(out, &spare, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
        if (ok)
            drop_edges(out, edges);
    }
    if (ok && normaliser >= NORMALISE_CASELESS)
        ok = fold(out, &spare, edges);
    if (ok && normaliser == NORMALISE_ACCENTLESS)
        keep_unaccented(out);
    if (ok && normaliser == NORMALISE_DIGITS)
        keep_digits(out);
    points_wipe(&spare);
    if (!ok) {
        points_wipe(out);
        return error_nomem(err);
    }
    return COFFER_OK;
}

int
normalise(int normaliser, struct bytes text, struct buf *out, struct coffer_error *err)
{
    struct points points = {0};
    int rc = normalise_points(normaliser, EDGE_CLOSED, text, &points, err);

    if (rc == COFFER_OK) {
        points_encode(points.at, points.count, out);
        rc = buf_status(out, err);
    }
    points_wipe(&points);
    return rc;
}

bool
point_in_word(int32_t point)
{
    utf8proc_category_t category = utf8proc_category(point);

    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO;
}
