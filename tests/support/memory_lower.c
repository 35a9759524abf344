/* SPDX-License-Identifier: Apache-2.0 */
#include "support/memory_lower.h"

#include "support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct memory_lower *
of(struct lower *lower)
{
    struct memory_lower *m = (struct memory_lower *)lower;

    assert_false(m->closed);
    return m;
}

/* The error that is due in this call, or 0. */
static int
enter(struct memory_lower *m, enum memory_lower_call call)
{
    __atomic_fetch_add(&m->calls[call], 1, __ATOMIC_RELAXED); /* reads may be of many threads */
    if (m->fail_at == 0 || --m->fail_at > 0)
        return 0;
    m->fired = true;
    return m->fail_error;
}

static int
grow(struct memory_lower *m, uint64_t length)
{
    if (m->room_max > 0 && length > m->room_max)
        return -ENOSPC;
    if (length > m->room) {
        m->bytes = realloc(m->bytes, length * 2);
        assert_non_null(m->bytes);
        memset(m->bytes + m->room, 0, length * 2 - m->room);
        m->room = length * 2;
    }
    if (length > m->length)
        m->length = length;
    return 0;
}

static ssize_t
memory_read(struct lower *lower, const struct iovec *iov, int count, uint64_t at)
{
    struct memory_lower *m = of(lower);
    int error = enter(m, LOWER_READ);
    ssize_t sum = 0;

    if (error != 0)
        return error;
    for (int i = 0; i < count && at < m->length; i++) {
        size_t n = iov[i].iov_len < m->length - at ? iov[i].iov_len : m->length - at;

        memcpy(iov[i].iov_base, m->bytes + at, n);
        at += n;
        sum += (ssize_t)n;
    }
    return sum;
}

static int
memory_write(struct lower *lower, const struct iovec *iov, int count, uint64_t at, bool dsync)
{
    struct memory_lower *m = of(lower);
    int error = enter(m, LOWER_WRITE);
    size_t limit = error != 0 ? m->tear : SIZE_MAX;

    m->dsync_writes += dsync;
    m->written_at_last = at;
    for (int i = 0; i < count && limit > 0; i++) {
        size_t n = iov[i].iov_len < limit ? iov[i].iov_len : limit;

        if (n > 0 && grow(m, at + n) != 0)
            return -ENOSPC;
        memcpy(m->bytes + at, iov[i].iov_base, n);
        at += n;
        limit -= n;
    }
    return error;
}

static int
memory_truncate(struct lower *lower, uint64_t length)
{
    struct memory_lower *m = of(lower);
    int error = enter(m, LOWER_TRUNCATE);

    if (error != 0)
        return error;
    if (length > m->length)
        return grow(m, length);
    memset(m->bytes + length, 0, m->length - length);
    m->length = length;
    return 0;
}

static int
memory_reserve(struct lower *lower, uint64_t at, uint64_t length)
{
    struct memory_lower *m = of(lower);
    int error = enter(m, LOWER_RESERVE);

    if (error != 0)
        return error;
    if (m->no_reserve)
        return -EOPNOTSUPP;
    return m->room_max > 0 && at + length > m->room_max ? -ENOSPC : 0;
}

static int
memory_length(struct lower *lower, uint64_t *length)
{
    struct memory_lower *m = of(lower);
    int error = enter(m, LOWER_LENGTH);

    *length = m->length;
    return error;
}

static int
memory_sync(struct lower *lower, bool data_only)
{
    struct memory_lower *m = of(lower);

    m->last_sync_data_only = data_only;
    return enter(m, LOWER_SYNC);
}

static ssize_t
memory_xattr_get(struct lower *lower, const char *name, void *value, size_t max)
{
    struct memory_lower *m = of(lower);
    int error = enter(m, LOWER_XATTR_GET);

    assert_string_equal(name, "user.ecryptfs");
    if (error != 0)
        return error;
    if (m->xattr_len < 0)
        return -ENODATA;
    if ((size_t)m->xattr_len > max)
        return -ERANGE;
    memcpy(value, m->xattr, (size_t)m->xattr_len);
    return m->xattr_len;
}

static int
memory_xattr_set(struct lower *lower, const char *name, const void *value, size_t length)
{
    struct memory_lower *m = of(lower);
    int error = enter(m, LOWER_XATTR_SET);

    assert_string_equal(name, "user.ecryptfs");
    if (error != 0)
        return error;
    assert_true(length <= sizeof m->xattr);
    memcpy(m->xattr, value, length);
    m->xattr_len = (ssize_t)length;
    return 0;
}

static void
memory_close(struct lower *lower)
{
    of(lower)->closed = true;
}

struct memory_lower *
memory_lower_new(void)
{
    static const struct lower_ops OPS = {
        .read = memory_read,
        .write = memory_write,
        .truncate = memory_truncate,
        .reserve = memory_reserve,
        .length = memory_length,
        .sync = memory_sync,
        .xattr_get = memory_xattr_get,
        .xattr_set = memory_xattr_set,
        .close = memory_close,
    };
    struct memory_lower *m = calloc(1, sizeof *m);

    assert_non_null(m);
    m->lower.ops = &OPS;
    m->xattr_len = -1;
    return m;
}

struct memory_lower *
memory_lower_of(struct bytes content)
{
    struct memory_lower *m = memory_lower_new();

    assert_int_equal(grow(m, content.len), 0);
    if (content.len > 0)
        memcpy(m->bytes, content.ptr, content.len);
    return m;
}

void
memory_lower_free(struct memory_lower *m)
{
    if (m == NULL)
        return;
    free(m->bytes);
    free(m);
}

void
memory_lower_fail(struct memory_lower *m, unsigned nth, int error, size_t tear)
{
    m->fail_at = nth;
    m->fail_error = error;
    m->tear = tear;
    m->fired = false;
}

void
memory_lower_count_from_zero(struct memory_lower *m)
{
    memset(m->calls, 0, sizeof m->calls);
    m->dsync_writes = 0;
}

struct bytes
memory_lower_view(const struct memory_lower *m)
{
    return bytes_of(m->bytes, m->length);
}
