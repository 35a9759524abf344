/* SPDX-License-Identifier: Apache-2.0 */
/* The command's own parts: the argument parser, values of options, CSV, progress, URLs. */
#include "cli/cli.h"
#include "cli/events.h"
#include "cli/where.h"
#include "support/test.h"

#include <string.h>

static const struct arg_option some_options[] = {
    {"kek", "URI", ""}, {"json", NULL, ""}, {"line", "NAME", ""}, {NULL, NULL, NULL}};
static const struct arg_option *const tables[] = {some_options, NULL};

#define PARSE(args, err, ...)                                                                      \
    args_parse((int)(sizeof((const char *[]){"coffer", __VA_ARGS__}) / sizeof(char *)),                  \
               (const char *[]){"coffer", __VA_ARGS__}, 1, tables, args, err)

static void
options_stand_before_and_after_words(void **state)
{
    struct args args;
    (void)state;

    assert_int_equal(PARSE(&args, NULL, "--json", "cmd", "a", "--kek=x", "b", "--line", "l", "--", "--kek"), COFFER_OK);
    assert_int_equal(args.word_count, 3);
    assert_string_equal(args.words[2], "--kek");
    assert_string_equal(args_text(&args, "kek"), "x");
    assert_string_equal(args_text(&args, "line"), "l");
    assert_true(args_flag(&args, "json"));
}

static void
a_wrong_option_is_named_with_its_neighbour(void **state)
{
    struct coffer_error err = {0};
    struct args args;
    (void)state;

    assert_int_equal(PARSE(&args, &err, "cmd", "--jsn"), COFFER_E_MISUSE);
    assert_string_equal(err.message, "unknown option --jsn; did you mean --json?");
    assert_int_equal(PARSE(&args, &err, "cmd", "--kek"), COFFER_E_MISUSE);
    assert_int_equal(PARSE(&args, &err, "cmd", "--json=1"), COFFER_E_MISUSE);
}

static void
the_command_is_found_behind_options(void **state)
{
    const char *words[2];
    const char *argv[] = {"coffer", "--kek", "key", "--json", "key", "list"};
    (void)state;

    assert_int_equal(args_words(6, argv, tables, words, 2), 2);
    assert_string_equal(words[0], "key");
    assert_string_equal(words[1], "list");
}

static void
durations_need_their_unit(void **state)
{
    int64_t ms;
    (void)state;

    assert_int_equal(parse_duration("x", "30s", &ms, NULL), COFFER_OK);
    assert_int_equal(ms, 30000);
    assert_int_equal(parse_duration("x", "2d", &ms, NULL), COFFER_OK);
    assert_int_equal(ms, 172800000);
    assert_int_equal(parse_duration("x", "0", &ms, NULL), COFFER_OK);
    assert_int_equal(ms, 0);
    assert_int_equal(parse_duration("x", "30", &ms, NULL), COFFER_E_MISUSE);
    assert_int_equal(parse_duration("x", "-1s", &ms, NULL), COFFER_E_MISUSE);
    assert_int_equal(parse_duration("x", "5 m", &ms, NULL), COFFER_E_MISUSE);
}

static void
windows_and_key_ids_are_strict(void **state)
{
    int from, to;
    uint32_t id;
    (void)state;

    assert_int_equal(parse_window("22:00-06:30", &from, &to, NULL), COFFER_OK);
    assert_int_equal(from, 1320);
    assert_int_equal(to, 390);
    assert_int_equal(parse_window("24:00-06:00", &from, &to, NULL), COFFER_E_MISUSE);
    assert_int_equal(parse_window("22:00-06:00x", &from, &to, NULL), COFFER_E_MISUSE);
    assert_int_equal(parse_key_id("0000000a", &id, NULL), COFFER_OK);
    assert_int_equal(id, 10);
    assert_int_equal(parse_key_id("00000000", &id, NULL), COFFER_E_MISUSE);
    assert_int_equal(parse_key_id("a", &id, NULL), COFFER_E_MISUSE);
}

static void
passwords_in_urls_are_seen(void **state)
{
    (void)state;
    assert_true(url_has_password("postgresql://u:p@h/d"));
    assert_true(url_has_password("postgresql://u@h/d?password=p"));
    assert_true(url_has_password("postgresql:host=h password=p"));
    assert_false(url_has_password("postgresql://u@h:5432/d"));
    assert_false(url_has_password("sqlite:a:b@c.db"));
}

static void
csv_quotes_as_postgresql_does(void **state)
{
    static const char *const cases[][2] = {{"a", "a"},           {"", "\"\""},     {"a,b", "\"a,b\""}, {"q\"", "\"q\"\"\""},
                                           {"x\ny", "\"x\ny\""}, {" a ", " a "}, {"\\.", "\"\\.\""}};
    struct buf out;
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_init(&out, 100);
        csv_field(&out, bytes_str(cases[i][0]));
        assert_string_equal(buf_cstr(&out), cases[i][1]);
        buf_wipe(&out);
    }
}

static void
progress_fits_the_terminal(void **state)
{
    char text[200];
    (void)state;

    progress_text(12300, 24600, 1500, 70, 70, text, sizeof text);
    assert_string_equal(text, "[##########..........]  50%  12 300 rows  1 500 rows/s  1m10s left");
    progress_text(5, 4, 0, 0, 40, text, sizeof text);
    assert_string_equal(text, "100%  5 rows");
}

static void
a_condition_names_columns_outside_of_strings(void **state)
{
    (void)state;

    assert_true(where_names("total > 5", "total", false));
    assert_true(where_names("id=1 AND TOTAL>5", "total", false));
    assert_true(where_names("o.\"total\" = 1", "total", false));
    assert_true(where_names("x='it''s' and total=1", "total", false));
    assert_true(where_names("total is not true", "total", false));
    assert_false(where_names("subtotal > 5 or totals=1", "total", false));
    assert_false(where_names("name = 'total' -- total\n and id=1 /* total */", "total", false));
    assert_false(where_names("name = 'it''s total", "total", false));
    assert_false(where_names("total IS NULL", "total", false));
    assert_false(where_names("\"total\"  is  not null", "total", false));
    assert_true(where_names("total IS NULL", "total", true));
    assert_false(where_names("", "total", true));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_before_and_after_words),
        cmocka_unit_test(a_wrong_option_is_named_with_its_neighbour),
        cmocka_unit_test(the_command_is_found_behind_options),
        cmocka_unit_test(durations_need_their_unit),
        cmocka_unit_test(windows_and_key_ids_are_strict),
        cmocka_unit_test(passwords_in_urls_are_seen),
        cmocka_unit_test(csv_quotes_as_postgresql_does),
        cmocka_unit_test(progress_fits_the_terminal),
        cmocka_unit_test(a_condition_names_columns_outside_of_strings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
