/* SPDX-License-Identifier: Apache-2.0 */
/* Text tokens: no match is ever missed, and the matcher is LIKE. */
#include "fixture.h"
#include "support/fault.h"

#include "search/tokens.h"

#include <stdio.h>

static struct secret *key;
static struct text_key *text_key;

static int
set_up(void **state)
{
    key = sample_key();
    return text_key_new(key, INDEX_ID, 5, &text_key, NULL);
}

static int
tear_down(void **state)
{
    text_key_free(text_key);
    secret_free(key);
    return secret_live_count() == 0 ? 0 : -1;
}

static bool
matches(const char *pattern, int32_t escape, enum like_operator op, const char *text)
{
    struct like like;
    bool match;

    assert_int_equal(like_parse(bytes_str(pattern), escape, op, &like, NULL), COFFER_OK);
    assert_int_equal(like_match(&like, bytes_str(text), &match, NULL), COFFER_OK);
    like_wipe(&like);
    return match;
}

static void
like_matches_as_postgresql_does(void **state)
{
    assert_true(matches("%son%", '\\', LIKE_EXACT, "Jackson"));
    assert_false(matches("%Son%", '\\', LIKE_EXACT, "Jackson"));
    assert_true(matches("%SON", '\\', LIKE_CASELESS, "jackson"));
    assert_true(matches("50\\% _ff", '\\', LIKE_EXACT, "50% off"));
    assert_false(matches("50\\% _ff", '\\', LIKE_EXACT, "500 off"));
    assert_true(matches("50\\% off", LIKE_ESCAPE_NONE, LIKE_EXACT, "50\\ and off"));
    assert_true(matches("50\\%", LIKE_ESCAPE_NONE, LIKE_EXACT, "50\\anything"));
    assert_true(matches("a!%b", '!', LIKE_EXACT, "a%b"));
    assert_true(matches("", '\\', LIKE_EXACT, ""));
    assert_false(matches("", '\\', LIKE_EXACT, "a"));
    assert_false(matches("_", '\\', LIKE_EXACT, ""));
    assert_true(matches("_", '\\', LIKE_EXACT, "漢"));
    assert_true(matches("%a%b%c", '\\', LIKE_EXACT, "xxaaabbbcbc"));
    assert_true(matches("stras_e", '\\', LIKE_CASELESS, "STRAßE")); /* ß is ss, each one _ */
}

static void
malformed_patterns_are_refused(void **state)
{
    struct like like;

    assert_int_equal(like_parse(bytes_str("abc\\"), '\\', LIKE_EXACT, &like, NULL),
                     COFFER_E_FORMAT);
    assert_int_equal(like_parse(bytes_str("\xc3"), '\\', LIKE_EXACT, &like, NULL), COFFER_E_FORMAT);
    assert_null(like.items);
}

/* Candidates hold every match.  Returns false if the pattern is too short to search for. */
static bool
never_missed(const struct token_options *o, const char *pattern, enum like_operator op,
             const char *text)
{
    struct tokens row = {0}, wanted = {0};
    struct like like;
    bool match, long_enough;
    int rc;

    assert_int_equal(like_parse(bytes_str(pattern), '\\', op, &like, NULL), COFFER_OK);
    rc = tokens_of_like(text_key, o, &like, &wanted, NULL);
    long_enough = rc == COFFER_OK;
    assert_true(rc == COFFER_OK || rc == COFFER_E_MISUSE);
    assert_int_equal(like_match(&like, bytes_str(text), &match, NULL), COFFER_OK);
    assert_int_equal(tokens_of_text(text_key, o, bytes_str(text), &row, NULL), COFFER_OK);
    if (long_enough && match && !tokens_hold(&row, &wanted))
        fail_msg("'%s' matches '%s' and is no candidate", text, pattern);
    for (size_t i = 1; i < row.count; i++)
        assert_true(row.at[i - 1] < row.at[i]);
    like_wipe(&like);
    tokens_wipe(&row);
    tokens_wipe(&wanted);
    return long_enough;
}

/* Every pattern of up to three characters over a, b, %, _, against every text of up to four. */
static void
short_patterns_miss_nothing(void **state)
{
    struct token_options o = {.normaliser = 1, .short_grams = true, .bits = 48};
    unsigned searched = 0;

    for (unsigned p = 0; p < 4 + 16 + 64; p++) {
        char pattern[4] = "";
        unsigned digits = p < 4 ? 1 : p < 20 ? 2 : 3, n = p - (p < 4 ? 0 : p < 20 ? 4 : 20);

        for (unsigned i = 0; i < digits; i++, n /= 4)
            pattern[i] = "ab%_"[n % 4];
        for (unsigned t = 1; t < 32; t++) { /* a leading one says how long */
            char text[6] = "";
            unsigned len = t < 2 ? 0 : t < 4 ? 1 : t < 8 ? 2 : t < 16 ? 3 : 4;

            for (unsigned i = 0; i < len; i++)
                text[i] = (t >> i & 1) != 0 ? 'b' : 'a';
            searched += never_missed(&o, pattern, LIKE_EXACT, text);
        }
    }
    assert_true(searched > 1000);
}

static const char *const PIECES[] = {
    "a",  "B",  "é",  "e\u0301", "ß", "ﬁ", "İ", "\u0301", "\u0323", "\u0345", "\u037a", "한",
    "ᄒ", "ᅡ", "ᆫ", "x",       " ", "Σ", "ς", "\u3099", "か",     "ǅ",      "ﷺ",      "9",
};

static size_t
random_text(char *out, size_t pieces)
{
    out[0] = '\0';
    for (size_t i = 0; i < pieces; i++)
        strcat(out, PIECES[chance() % (sizeof PIECES / sizeof *PIECES)]);
    return strlen(out);
}

/* Fragments cut out of hostile texts at code points, in every normaliser and operator. */
static void
hostile_fragments_miss_nothing(void **state)
{
    unsigned searched = 0;

    for (int round = 0; round < 6000; round++) {
        struct token_options o = {.normaliser = 1 + (int)(chance() % 3), .bits = 48};
        enum like_operator op = o.normaliser > 1 && chance() % 2 == 0 ? LIKE_CASELESS : LIKE_EXACT;
        char text[400], fragment[400], pattern[420];
        size_t len = random_text(text, 2 + chance() % 8), from, to;

        o.short_grams = chance() % 2 == 0;
        do
            from = chance() % (len + 1);
        while (((uint8_t)text[from] & 0xc0) == 0x80);
        do
            to = from + chance() % (len - from + 1);
        while (((uint8_t)text[to] & 0xc0) == 0x80);
        (void)snprintf(fragment, sizeof fragment, "%.*s", (int)(to - from), text + from);
        (void)snprintf(pattern, sizeof pattern, "%s%s%s", from > 0 || chance() % 2 == 0 ? "%" : "",
                       fragment, to < len || chance() % 2 == 0 ? "%" : "");
        if (op == LIKE_EXACT)
            assert_true(matches(pattern, '\\', op, text));
        searched += never_missed(&o, pattern, op, text);
    }
    assert_true(searched > 2000);
}

/* What has the same normal form is found alike. */
static void
equivalent_spellings_are_found(void **state)
{
    struct token_options o = {.normaliser = 3, .bits = 48};

    assert_true(never_missed(&o, "%STRASSE%", LIKE_CASELESS, "Hauptstraße 5"));
    assert_true(never_missed(&o, "%ﬁne%", LIKE_CASELESS, "Refined"));
    assert_true(matches("%ﬁne%", '\\', LIKE_CASELESS, "Refined"));
    assert_true(matches("%i\u0307stan%", '\\', LIKE_CASELESS, "İstanbul"));
    assert_true(never_missed(&o, "%i\u0307stan%", LIKE_CASELESS, "İstanbul"));
    assert_true(never_missed(&o, "%cafe\u0301%", LIKE_CASELESS, "Café am Markt"));
    assert_true(matches("%cafe\u0301%", '\\', LIKE_CASELESS, "Café am Markt"));
}

static void
padding_is_exact_and_repeats(void **state)
{
    struct token_options o = {.normaliser = 2, .bits = 48};

    for (unsigned pad = 1; pad <= 64; pad++) {
        char text[400];
        struct tokens a = {0}, b = {0};

        random_text(text, chance() % 20);
        o.pad = pad;
        assert_int_equal(tokens_of_text(text_key, &o, bytes_str(text), &a, NULL), COFFER_OK);
        assert_int_equal(tokens_of_text(text_key, &o, bytes_str(text), &b, NULL), COFFER_OK);
        assert_true(a.count > 0 && a.count % pad == 0);
        assert_int_equal(a.count, b.count);
        assert_memory_equal(a.at, b.at, a.count * sizeof *a.at);
        tokens_wipe(&a);
        tokens_wipe(&b);
    }
}

static void
too_many_tokens_are_an_error(void **state)
{
    struct token_options o = {.normaliser = 2, .bits = 48};
    struct tokens tokens = {0};
    static char text[4 * 5000 + 1];
    size_t len = 0;

    for (int i = 0; i < 5000; i++) /* distinct code points of the CJK block */
        len += (size_t)snprintf(text + len, 4, "%c%c%c", 0xe4 + (i >> 12), 0x80 + (i >> 6 & 63),
                                0x80 + (i & 63));
    assert_int_equal(tokens_of_text(text_key, &o, bytes_of(text, len), &tokens, NULL),
                     COFFER_E_LIMIT);
    assert_int_equal(tokens.count, 0);
    memset(text, 'a', sizeof text - 1); /* long, and three tokens */
    assert_int_equal(tokens_of_text(text_key, &o, bytes_of(text, sizeof text - 1), &tokens, NULL),
                     COFFER_OK);
    assert_int_equal(tokens.count, 3);
    tokens_wipe(&tokens);
}

static int
words(const struct token_options *o, const char *query, const char *text, bool *candidate,
      bool *match)
{
    struct tokens row = {0}, wanted = {0};
    int rc = tokens_of_words(text_key, o, bytes_str(query), &wanted, NULL);

    if (rc == COFFER_OK) {
        assert_int_equal(tokens_of_text(text_key, o, bytes_str(text), &row, NULL), COFFER_OK);
        *candidate = tokens_hold(&row, &wanted);
        assert_int_equal(words_match(o, bytes_str(query), bytes_str(text), match, NULL), COFFER_OK);
    }
    tokens_wipe(&row);
    tokens_wipe(&wanted);
    return rc;
}

static void
words_and_their_beginnings_are_found(void **state)
{
    static const struct {
        const char *query;
        bool expected;
    } CASES[] = {{"fox", true},         {"FOX brown", true},  {"foxes", false},
                 {"fo*", true},         {"quickest*", false}, {"qui* lazy", false},
                 {"Mu\u0308ll*", true}, {"müller", true},     {"kly*", false}};
    struct token_options o = {.normaliser = 2, .words = true, .edge = 4, .bits = 48};
    bool candidate, match;

    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        assert_int_equal(
            words(&o, CASES[i].query, "The quickly Brown fox, Müller", &candidate, &match),
            COFFER_OK);
        assert_int_equal(match, CASES[i].expected);
        assert_true(candidate || !match);
    }
    assert_int_equal(words(&o, "f*", "x", &candidate, &match), COFFER_E_MISUSE);
    assert_int_equal(words(&o, " - ", "x", &candidate, &match), COFFER_E_MISUSE);
    assert_int_equal(words(&o, "abc *", "x", &candidate, &match), COFFER_E_MISUSE);
    o.edge = 0;
    assert_int_equal(words(&o, "fo*", "x", &candidate, &match), COFFER_E_MISUSE);
}

/* 200 000 unordered marks normalise in a moment, into the order of their classes. */
static void
long_runs_of_marks_take_no_time(void **state)
{
    static char text[2 * 200000 + 1];
    struct points points = {0};

    for (int i = 0; i < 200000; i++)
        memcpy(text + 2 * i, i % 2 == 0 ? "\u0301" : "\u0323", 2);
    assert_int_equal(
        normalise_points(1, EDGE_CLOSED, bytes_of(text, sizeof text - 1), &points, NULL),
        COFFER_OK);
    assert_int_equal(points.count, 200000);
    assert_int_equal(points.at[0], 0x323);
    assert_int_equal(points.at[199999], 0x301);
    points_wipe(&points);
}

static int
all_of_it(void)
{
    struct token_options o = {.normaliser = 3, .short_grams = true, .bits = 48, .pad = 8};
    struct tokens row = {0}, wanted = {0};
    struct like like = {0};
    bool match;
    int rc = tokens_of_text(text_key, &o, bytes_str("Ängström straße"), &row, NULL);

    if (rc == COFFER_OK)
        rc = like_parse(bytes_str("%ström%ß_%"), '\\', LIKE_CASELESS, &like, NULL);
    if (rc == COFFER_OK)
        rc = tokens_of_like(text_key, &o, &like, &wanted, NULL);
    if (rc == COFFER_OK)
        rc = like_match(&like, bytes_str("Ängström straße"), &match, NULL);
    like_wipe(&like);
    tokens_wipe(&row);
    tokens_wipe(&wanted);
    if (rc == COFFER_OK) {
        o = (struct token_options){.normaliser = 2, .words = true, .edge = 3, .bits = 48};
        rc = tokens_of_words(text_key, &o, bytes_str("grün ba*"), &wanted, NULL);
    }
    tokens_wipe(&wanted);
    return rc;
}

static int
with_key(void)
{
    size_t live = secret_live_count();
    int rc;

    assert_int_equal(live, 0);
    rc = secret_new(32, &key, NULL);
    if (rc == COFFER_OK)
        rc = text_key_new(key, INDEX_ID, 5, &text_key, NULL);
    if (rc == COFFER_OK)
        rc = all_of_it();
    text_key_free(text_key);
    secret_free(key);
    text_key = NULL;
    key = NULL;
    return rc;
}

static void
every_allocation_failure_is_clean(void **state)
{
    text_key_free(text_key);
    secret_free(key);
    text_key = NULL;
    key = NULL;
    fault_every_allocation("text tokens", with_key, 15);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_matches_as_postgresql_does),
        cmocka_unit_test(malformed_patterns_are_refused),
        cmocka_unit_test(short_patterns_miss_nothing),
        cmocka_unit_test(hostile_fragments_miss_nothing),
        cmocka_unit_test(equivalent_spellings_are_found),
        cmocka_unit_test(padding_is_exact_and_repeats),
        cmocka_unit_test(too_many_tokens_are_an_error),
        cmocka_unit_test(words_and_their_beginnings_are_found),
        cmocka_unit_test(long_runs_of_marks_take_no_time),
        cmocka_unit_test(every_allocation_failure_is_clean),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
