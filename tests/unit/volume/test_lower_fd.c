/* SPDX-License-Identifier: Apache-2.0 */
/* The lower file over a descriptor: counts, short ends, attributes, errors. */
#include "support/test.h"

#include "volume/format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64];

static struct lower *
open_lower(int flags)
{
    struct lower *lower = NULL;
    int fd = open(path, flags | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(lower_fd_open(fd, &lower, NULL), 0);
    return lower;
}

static void
reads_and_writes_by_position(void **state)
{
    struct lower *lower = open_lower(O_RDWR | O_CREAT | O_TRUNC);
    char a[3] = "abc", b[4] = "defg", x[5], y[10];
    struct iovec out[2] = {{a, 3}, {b, 4}}, in[2] = {{x, 5}, {y, 10}};
    uint64_t length = 0;

    assert_int_equal(lower->ops->write(lower, out, 2, 10, false), 0);
    assert_int_equal(lower->ops->write(lower, out, 2, 10, true), 0);
    assert_int_equal(lower->ops->length(lower, &length), 0);
    assert_int_equal(length, 17);
    assert_int_equal(lower->ops->read(lower, in, 2, 9), 8); /* short at the end alone */
    assert_memory_equal(x, "\0abcd", 5);
    assert_memory_equal(y, "efg", 3);
    assert_int_equal(lower->ops->read(lower, in, 2, 17), 0);
    assert_int_equal(lower->ops->truncate(lower, 12), 0);
    assert_int_equal(lower->ops->length(lower, &length), 0);
    assert_int_equal(length, 12);
    assert_int_equal(lower->ops->sync(lower, true), 0);
    assert_int_equal(lower->ops->sync(lower, false), 0);
    lower->ops->close(lower);
}

static void
reserving_keeps_the_length(void **state)
{
    struct lower *lower = open_lower(O_RDWR | O_CREAT | O_TRUNC);
    uint64_t length = 1;
    struct stat st;
    int rc = lower->ops->reserve(lower, 0, 1 << 20);

    assert_true(rc == 0 || rc == -EOPNOTSUPP);
    assert_int_equal(lower->ops->length(lower, &length), 0);
    assert_int_equal(length, 0);
    assert_int_equal(stat(path, &st), 0);
    if (rc == 0)
        assert_true(st.st_blocks * 512 >= 1 << 20);
    lower->ops->close(lower);
}

static void
attributes(void **state)
{
    struct lower *lower = open_lower(O_RDWR | O_CREAT | O_TRUNC);
    char value[16];
    int rc;

    assert_int_equal(lower->ops->xattr_get(lower, "user.ecryptfs", value, sizeof value), -ENODATA);
    rc = lower->ops->xattr_set(lower, "user.ecryptfs", "0123456789", 10);
    if (rc == 0) {
        assert_int_equal(lower->ops->xattr_get(lower, "user.ecryptfs", value, sizeof value), 10);
        assert_memory_equal(value, "0123456789", 10);
        assert_int_equal(lower->ops->xattr_get(lower, "user.ecryptfs", value, 9), -ERANGE);
    } else {
        assert_int_equal(rc, -EOPNOTSUPP);
    }
    lower->ops->close(lower);
}

static void
errors_are_negative_errnos(void **state)
{
    struct lower *lower = open_lower(O_RDONLY);
    struct iovec iov = {(char[1]){0}, 1};

    assert_int_equal(lower->ops->write(lower, &iov, 1, 0, false), -EBADF);
    assert_int_equal(lower->ops->write(lower, &iov, 1, 0, true), -EBADF);
    assert_int_equal(lower->ops->truncate(lower, 0), -EINVAL);
    assert_int_equal(lower->ops->read(lower, &iov, 1, UINT64_MAX), -EINVAL);
    lower->ops->close(lower);
    assert_int_equal(unlink(path), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes_by_position),
        cmocka_unit_test(reserving_keeps_the_length),
        cmocka_unit_test(attributes),
        cmocka_unit_test(errors_are_negative_errnos),
    };

    (void)snprintf(path, sizeof path, "lower_fd.%d", (int)getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
