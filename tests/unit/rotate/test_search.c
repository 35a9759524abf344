/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include "rotate/search.h"

#include <stdlib.h>
#include <string.h>

static void
what_is_there_is_found_with_its_place(void **state)
{
    uint8_t piece[5000];
    struct search search;

    memset(piece, 'x', sizeof piece);
    memcpy(piece + 3000, "123-45-6789", 11);
    search_init(&search);
    assert_int_equal(search_add(&search, bytes_str("987-65-4321"), 1, NULL), COFFER_OK);
    assert_int_equal(search_add(&search, bytes_str("123-45-6789"), 2, NULL), COFFER_OK);
    search_feed(&search, "a.db", 700, bytes_of(piece, sizeof piece));
    assert_int_equal(search.needles[0].found, 0);
    assert_int_equal(search.needles[1].found, 1);
    assert_int_equal(search.needles[1].first, 3700);
    assert_string_equal(search.needles[1].file, "a.db");
    search_wipe(&search);
}

/* Wherever two pieces meet, with the overlap that the header asks for. */
static void
nothing_is_missed_between_two_pieces(void **state)
{
    uint8_t file[400];
    size_t cut, overlap = SEARCH_MAX - 1;

    for (cut = 100; cut < 300; cut++) {
        struct search search;

        memset(file, 0, sizeof file);
        memcpy(file + 180, "a value of thirty bytes, no less", 32);
        search_init(&search);
        assert_int_equal(
            search_add(&search, bytes_str("a value of thirty bytes, no less, and more"), 0, NULL),
            COFFER_OK);
        search_feed(&search, "f", 0, bytes_of(file, cut));
        search_feed(&search, "f", cut - overlap,
                    bytes_of(file + cut - overlap, sizeof file - cut + overlap));
        assert_int_equal(search.needles[0].found, 1);
        assert_int_equal(search.needles[0].first, 180);
        search_wipe(&search);
    }
}

static void
short_and_repeated_values_are_not_looked_for(void **state)
{
    struct search search;

    search_init(&search);
    assert_int_equal(search_add(&search, bytes_str("7 bytes"), 0, NULL), COFFER_OK);
    assert_int_equal(search_add(&search, bytes_of(NULL, 0), 0, NULL), COFFER_OK);
    assert_int_equal(search.count, 0);
    assert_int_equal(search_add(&search, bytes_str("8 bytes!"), 0, NULL), COFFER_OK);
    assert_int_equal(search_add(&search, bytes_str("8 bytes!"), 1, NULL), COFFER_OK);
    assert_int_equal(search.count, 1);
    search_feed(&search, "f", 0, bytes_str("8 bytes"));
    search_feed(&search, "f", 0, bytes_str("8 bytes!"));
    assert_int_equal(search.needles[0].found, 1);
    search_wipe(&search);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_there_is_found_with_its_place),
        cmocka_unit_test(nothing_is_missed_between_two_pieces),
        cmocka_unit_test(short_and_repeated_values_are_not_looked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
