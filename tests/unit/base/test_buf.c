/* SPDX-License-Identifier: Apache-2.0 */
#include "support/fault.h"
#include "support/test.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <string.h>

static void
a_buffer_fills_up_to_its_limit_and_not_beyond(void **state)
{
    struct buf buf;
    struct coffer_error err = {0};

    buf_init(&buf, 8);
    buf_add(&buf, "1234567", 7);
    buf_u8(&buf, '8');
    assert_int_equal(buf_status(&buf, &err), COFFER_OK);
    buf_u8(&buf, '9');
    assert_int_equal(buf_status(&buf, &err), COFFER_E_LIMIT);
    assert_non_null(strstr(err.message, "8 bytes"));
    buf_clear(&buf);
    buf_wipe(&buf);
    assert_null(buf.ptr);
}

/* After one append was too long, a shorter one that would fit must not slip in behind the gap. */
static void
a_failed_buffer_takes_nothing_more(void **state)
{
    struct buf buf;

    buf_init(&buf, 8);
    buf_str(&buf, "1234");
    buf_str(&buf, "56789");
    buf_str(&buf, "5");
    assert_int_equal(buf_status(&buf, NULL), COFFER_E_LIMIT);
    assert_string_equal(buf_cstr(&buf), "");
    assert_int_equal(buf_view(&buf).len, 0);
    buf_wipe(&buf);
}

static void
formatted_text_may_fill_a_buffer_exactly(void **state)
{
    struct buf buf;

    buf_init(&buf, 6);
    buf_format(&buf, "%d-%s", 12, "abc");
    assert_int_equal(buf_status(&buf, NULL), COFFER_OK);
    assert_string_equal(buf_cstr(&buf), "12-abc");
    buf_format(&buf, "%d", 1);
    assert_int_equal(buf_status(&buf, NULL), COFFER_E_LIMIT);
    buf_wipe(&buf);
}

static void
numbers_and_lengths_are_big_endian(void **state)
{
    static const uint8_t EXPECTED[] = {1,  2,  3,  4, 5, 6,   7,   8, 9, 10, 11, 12,
                                       13, 14, 15, 0, 2, 'a', 'b', 0, 0, 0,  1,  'c'};
    struct buf buf;

    buf_init(&buf, 100);
    buf_u8(&buf, 1);
    buf_be16(&buf, 0x0203);
    buf_be32(&buf, 0x04050607);
    buf_be64(&buf, 0x08090a0b0c0d0e0f);
    buf_lp16(&buf, bytes_str("ab"));
    buf_lp32(&buf, bytes_str("c"));
    assert_int_equal(buf.len, sizeof EXPECTED);
    assert_memory_equal(buf.ptr, EXPECTED, sizeof EXPECTED);
    buf_wipe(&buf);
}

/* 65536 bytes do not fit a two-byte length; written as length 0 they would be read as something
 * else. */
static void
a_two_byte_length_refuses_what_it_cannot_say(void **state)
{
    static uint8_t data[65536];
    struct buf buf;

    buf_init(&buf, 100000);
    buf_lp16(&buf, bytes_of(data, 65536));
    assert_int_equal(buf_status(&buf, NULL), COFFER_E_LIMIT);
    assert_int_equal(buf_view(&buf).len, 0);
    buf_wipe(&buf);
    buf_lp16(&buf, bytes_of(data, 65535));
    assert_int_equal(buf_status(&buf, NULL), COFFER_OK);
    assert_int_equal(buf.len, 65537);
    buf_wipe(&buf);
}

static void
every_allocation_failure_of_a_buffer_is_clean(void **state)
{
    struct buf buf;
    unsigned nth = 0;

    for (;;) {
        fault_alloc_at(++nth);
        buf_init(&buf, 10000);
        for (int i = 0; i < 1000; i++)
            buf_be64(&buf, (uint64_t)i);
        if (!fault_fired())
            break;
        assert_int_equal(buf_status(&buf, NULL), COFFER_E_NOMEM);
        assert_int_equal(buf_view(&buf).len, 0);
        buf_wipe(&buf);
    }
    assert_int_equal(buf_status(&buf, NULL), COFFER_OK);
    assert_int_equal(buf.len, 8000);
    assert_true(nth > 3);
    buf_wipe(&buf);
}

static void
a_cursor_reads_what_a_buffer_wrote(void **state)
{
    struct buf buf;
    struct cursor c;

    buf_init(&buf, 100);
    buf_u8(&buf, 250);
    buf_be16(&buf, 0xfedc);
    buf_be32(&buf, 0xfedcba98);
    buf_be64(&buf, UINT64_MAX - 1);
    buf_lp16(&buf, bytes_str("short"));
    buf_lp32(&buf, bytes_str("long"));
    c = cursor_of(buf_view(&buf));
    assert_int_equal(cursor_u8(&c), 250);
    assert_int_equal(cursor_be16(&c), 0xfedc);
    assert_int_equal(cursor_be32(&c), 0xfedcba98);
    assert_true(cursor_be64(&c) == UINT64_MAX - 1);
    assert_true(bytes_equal(cursor_lp16(&c), bytes_str("short")));
    assert_true(bytes_equal(cursor_lp32(&c), bytes_str("long")));
    assert_int_equal(cursor_left(&c), 0);
    assert_false(c.bad);
    buf_wipe(&buf);
}

/* Once one read went beyond the end, nothing that follows is data, even where bytes are left. */
static void
a_read_beyond_the_end_spoils_the_cursor_for_good(void **state)
{
    static const uint8_t DATA[] = {1, 2, 3};
    struct cursor c = cursor_of(bytes_of(DATA, sizeof DATA));

    assert_int_equal(cursor_be32(&c), 0);
    assert_true(c.bad);
    assert_int_equal(cursor_u8(&c), 0);
    assert_int_equal(cursor_take(&c, 1).len, 0);
    assert_true(c.bad);
}

static void
a_length_beyond_the_end_gives_nothing(void **state)
{
    static const uint8_t SHORT[] = {0, 4, 'a', 'b', 'c'};
    static const uint8_t HUGE[] = {0xff, 0xff, 0xff, 0xff, 'a'};
    struct cursor c = cursor_of(bytes_of(SHORT, sizeof SHORT));

    assert_int_equal(cursor_lp16(&c).len, 0);
    assert_true(c.bad);
    c = cursor_of(bytes_of(HUGE, sizeof HUGE));
    assert_int_equal(cursor_lp32(&c).len, 0);
    assert_true(c.bad);
    c = cursor_of(bytes_of(HUGE, sizeof HUGE));
    assert_int_equal(cursor_take(&c, SIZE_MAX).len, 0);
    assert_true(c.bad);
}

static void
an_empty_view_is_read_as_empty(void **state)
{
    struct cursor c = cursor_of(bytes_str(NULL));

    assert_int_equal(cursor_left(&c), 0);
    assert_int_equal(cursor_take(&c, 0).len, 0);
    assert_false(c.bad);
    (void)cursor_u8(&c);
    assert_true(c.bad);
}

static void
sizes_that_overflow_are_noticed(void **state)
{
    size_t v;

    assert_true(size_add(SIZE_MAX - 1, 1, &v));
    assert_true(v == SIZE_MAX);
    assert_false(size_add(SIZE_MAX, 1, &v));
    assert_true(size_mul(SIZE_MAX / 2, 2, &v));
    assert_false(size_mul(SIZE_MAX / 2 + 1, 2, &v));
    assert_null(mem_array(SIZE_MAX / 2 + 1, 2));
}

static void
views_compare_as_memory_shorter_first(void **state)
{
    assert_true(bytes_equal(bytes_of(NULL, 0), bytes_str("")));
    assert_false(bytes_equal(bytes_str("a"), bytes_str("ab")));
    assert_true(bytes_compare(bytes_str("a"), bytes_str("ab")) < 0);
    assert_true(bytes_compare(bytes_str("b"), bytes_str("ab")) > 0);
    assert_true(bytes_compare(bytes_str("\xff"), bytes_str("\x01")) > 0);
    assert_int_equal(bytes_compare(bytes_str("x"), bytes_str("x")), 0);
}

static void
memory_is_zeroed_and_strings_are_cut(void **state)
{
    uint8_t *block = mem_array(100, 3);
    char *text = mem_strndup("abcdef", 3), *made = mem_format("%s/%d", "k", 7);

    for (int i = 0; i < 300; i++)
        assert_int_equal(block[i], 0);
    assert_string_equal(text, "abc");
    assert_string_equal(made, "k/7");
    mem_free(block);
    mem_free(text);
    mem_free(made);
    mem_free(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_fills_up_to_its_limit_and_not_beyond),
        cmocka_unit_test(a_failed_buffer_takes_nothing_more),
        cmocka_unit_test(formatted_text_may_fill_a_buffer_exactly),
        cmocka_unit_test(numbers_and_lengths_are_big_endian),
        cmocka_unit_test(a_two_byte_length_refuses_what_it_cannot_say),
        cmocka_unit_test(every_allocation_failure_of_a_buffer_is_clean),
        cmocka_unit_test(a_cursor_reads_what_a_buffer_wrote),
        cmocka_unit_test(a_read_beyond_the_end_spoils_the_cursor_for_good),
        cmocka_unit_test(a_length_beyond_the_end_gives_nothing),
        cmocka_unit_test(an_empty_view_is_read_as_empty),
        cmocka_unit_test(sizes_that_overflow_are_noticed),
        cmocka_unit_test(views_compare_as_memory_shorter_first),
        cmocka_unit_test(memory_is_zeroed_and_strings_are_cut),
    };

    return cmocka_run_group_tests_name("base: buffers", tests, NULL, NULL);
}
