/* SPDX-License-Identifier: Apache-2.0 */
/* The strict reader.  A number that could be written in two ways is refused in all but the shortest,
 * so that equal totals of equal rows have equal bytes. */
#include "sums/answer.h"
#include "sums/modp.h"

#include <string.h>

#define FORMAT_BYTE 1
#define RUN_MIN 2 /* bytes */

static int
bad(struct coffer_error *err, const char *what)
{
    return error_set(err, COFFER_E_FORMAT, "not an answer of the sum aggregate: %s", what);
}

/* A minimal LEB128 number below 2^32. */
static bool
read_number(struct cursor *c, uint32_t *out)
{
    uint64_t v = 0;
    uint8_t byte;
    int shift;

    for (shift = 0; shift < 35; shift += 7) {
        byte = cursor_u8(c);
        v |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *out = (uint32_t)v;
            return !c->bad && v <= UINT32_MAX && (byte != 0 || shift == 0);
        }
    }
    return false;
}

static int128
read_be128(struct cursor *c)
{
    uint64_t high = cursor_be64(c);

    return (int128)((uint128)high << 64 | cursor_be64(c));
}

static int
read_runs(struct cursor *c, const struct sum_group *group, const struct sum_visitor *visitor,
          struct coffer_error *err)
{
    uint64_t rows = 0, first, last, end = 0; /* end: the counter after which the next gap begins */
    uint32_t gap, more;
    int rc;

    for (uint32_t i = 0; i < group->runs; i++) {
        if (!read_number(c, &gap) || !read_number(c, &more))
            return bad(err, "a run is cut off or not in its shortest form");
        first = end + 1 + gap;
        last = first + more;
        if (last > UINT32_MAX)
            return bad(err, "a counter is out of range");
        end = last + 1;
        rows += last - first + 1;
        rc = visitor->run != NULL ? visitor->run(visitor->arg, (uint32_t)first, (uint32_t)last, err)
                                  : COFFER_OK;
        if (rc != COFFER_OK)
            return rc;
    }
    return rows == group->rows ? COFFER_OK : bad(err, "a number of rows differs from its runs");
}

static bool
possible(int128 sum, uint64_t rows)
{
    return uint128_abs(sum) <= (uint128)rows << 63;
}

static int
read_group(struct cursor *c, unsigned flags, struct sum_group *group, struct coffer_error *err)
{
    struct bytes id = cursor_take(c, SUM_GROUP_LEN);
    bool ascending;

    if (c->bad)
        return bad(err, "it is cut off");
    ascending = memcmp(id.ptr, group->id, SUM_GROUP_LEN) > 0; /* the first follows zeros */
    memcpy(group->id, id.ptr, SUM_GROUP_LEN);
    group->rows = cursor_be64(c);
    group->l = read_be128(c);
    group->h = (flags & SUM_WIDE) != 0 ? read_be128(c) : 0;
    group->tag = (flags & SUM_TAGGED) != 0 ? read_be128(c) : 0;
    group->runs = cursor_be32(c);
    if (c->bad || group->runs > cursor_left(c) / RUN_MIN)
        return bad(err, "it is cut off");
    if (!ascending)
        return bad(err, "its groups do not ascend");
    if (group->id[0] > SUM_VERSION_MAX >> 8 || (group->id[0] == 0 && group->id[1] == 0))
        return bad(err, "a key version is out of range");
    if (group->runs == 0)
        return bad(err, "a group is empty");
    if (group->rows > UINT32_MAX)
        return bad(err, "a number of rows differs from its runs");
    if (group->tag > MODP_CENTRED_MAX || group->tag < -MODP_CENTRED_MAX)
        return bad(err, "a tag is out of range");
    if (possible(group->l, group->rows) && possible(group->h, group->rows))
        return COFFER_OK;
    if ((flags & SUM_TAGGED) == 0)
        return bad(err, "a sum is larger than its rows could have");
    return error_set(err, COFFER_E_AUTH,
                     "the sum is not that of its rows: it is larger than they could have");
}

int
sum_answer_flags(struct bytes answer, unsigned *flags, struct coffer_error *err)
{
    *flags = 0;
    if (answer.len < 6 || answer.ptr[0] != FORMAT_BYTE)
        return bad(err, "it begins otherwise");
    if ((answer.ptr[1] & ~(SUM_WIDE | SUM_TAGGED)) != 0)
        return bad(err, "unknown flags");
    *flags = answer.ptr[1];
    return COFFER_OK;
}

int
sum_answer_read(struct bytes answer, unsigned flags, const struct sum_visitor *visitor,
                struct coffer_error *err)
{
    struct cursor c = cursor_of(answer);
    struct sum_group group = {0};
    unsigned has;
    uint32_t groups;
    int rc = sum_answer_flags(answer, &has, err);

    if (rc != COFFER_OK)
        return rc;
    if (has != flags)
        return bad(err, "it is of another kind of column (64 or 128 bits, with or without tags)");
    (void)cursor_take(&c, 2);
    groups = cursor_be32(&c);
    for (uint32_t i = 0; i < groups; i++) {
        rc = read_group(&c, flags, &group, err);
        if (rc == COFFER_OK && visitor->group != NULL)
            rc = visitor->group(visitor->arg, &group, err);
        if (rc == COFFER_OK)
            rc = read_runs(&c, &group, visitor, err);
        if (rc != COFFER_OK)
            return rc;
    }
    return cursor_left(&c) == 0 ? COFFER_OK : bad(err, "bytes follow its end");
}
