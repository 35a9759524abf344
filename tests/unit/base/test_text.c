/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include "base/bytes.h"
#include "base/number.h"

#include <string.h>

static bool
decodes(const char *text, bool (*decode)(struct bytes, uint8_t *, size_t, size_t *))
{
    uint8_t out[64];
    size_t len = 99;
    bool ok = decode(bytes_str(text), out, sizeof out, &len);

    if (!ok)
        assert_int_equal(len, 0);
    return ok;
}

static void
hex_round_trips_and_is_strict(void **state)
{
    static const uint8_t DATA[] = {0x00, 0x9f, 0xa0, 0xff};
    char text[9];
    uint8_t out[4];
    size_t len;

    hex_encode(bytes_of(DATA, sizeof DATA), text);
    assert_string_equal(text, "009fa0ff");
    assert_true(hex_decode(bytes_str("009FA0fF"), out, sizeof out, &len));
    assert_int_equal(len, 4);
    assert_memory_equal(out, DATA, 4);
    assert_false(hex_decode(bytes_str("009fa0ff"), out, 3, &len));

    static const char *const BAD[] = {"0",   "0g", "0x00", " 00", "00 ",
                                      "0\n", "-1", "::",   "@@",  "``"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        assert_false(decodes(BAD[i], hex_decode));
    assert_true(decodes("", hex_decode));
}

/* RFC 4648, section 10, in the alphabet of section 5 and without padding. */
static void
base64url_gives_the_answers_of_its_rfc(void **state)
{
    static const char *const PAIRS[][2] = {
        {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
        {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff\xbf", "-_-_"},
    };

    for (size_t i = 0; i < sizeof PAIRS / sizeof *PAIRS; i++) {
        struct bytes plain = bytes_str(PAIRS[i][0]), coded = bytes_str(PAIRS[i][1]);
        char text[16] = {0};
        uint8_t out[16];
        size_t len;

        assert_int_equal(base64url_encoded_len(plain.len), coded.len);
        base64url_encode(plain, text);
        assert_string_equal(text, PAIRS[i][1]);
        assert_true(base64url_decode(coded, out, plain.len, &len));
        assert_true(bytes_equal(bytes_of(out, len), plain));
        if (plain.len > 0)
            assert_false(base64url_decode(coded, out, plain.len - 1, &len));
    }
}

/* Two texts for the same bytes would let somebody change a stored cell without a trace. */
static void
base64url_takes_one_text_for_the_same_bytes_only(void **state)
{
    static const char *const BAD[] = {"Z",    "Zm9vY", "Zh",   "Zm9",  "Zg==", "Zg=",
                                      "Zm 8", "Zm8\n", "-+-+", "_/_/", "Zm8.", "Zm\xc3\xa9"};

    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        assert_false(decodes(BAD[i], base64url_decode));
}

static bool
utf8(const char *text)
{
    return utf8_valid(bytes_str(text));
}

static void
utf8_follows_rfc_3629(void **state)
{
    assert_true(utf8(""));
    assert_true(utf8("Zürich 東京 \xf0\x9f\x94\x91"));
    assert_true(utf8_valid(bytes_of("\0", 1)));
    assert_true(utf8(
        "\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"));

    static const char *const BAD[] = {
        "\x80",             /* continuation first */
        "\xc3",             /* cut */
        "\xe2\x82",         /* cut */
        "\xf0\x9f\x94",     /* cut */
        "\xc0\xaf",         /* overlong '/' */
        "\xc1\xbf",         /* overlong */
        "\xe0\x9f\xbf",     /* overlong */
        "\xf0\x8f\xbf\xbf", /* overlong */
        "\xed\xa0\x80",     /* surrogate */
        "\xed\xbf\xbf",     /* surrogate */
        "\xf4\x90\x80\x80", /* above U+10FFFF */
        "\xf5\x80\x80\x80",
        "\xff",
        "\xfe",
        "\xc3(",
        "\xe2(\xa1",
        "\xf0(\x8c\xbc",
        "\xf9",
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        assert_false(utf8(BAD[i]));
}

/* The fast way over runs of ASCII must see a bad byte wherever it stands. */
static void
one_bad_byte_spoils_a_long_text_wherever_it_stands(void **state)
{
    uint8_t text[200];

    memset(text, 'a', sizeof text);
    assert_true(utf8_valid(bytes_of(text, sizeof text)));
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = 0xf9;
        assert_false(utf8_valid(bytes_of(text, sizeof text)));
        text[i] = 'a';
    }
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        memcpy(text + i, "\xc3\xa9", 2);
        assert_true(utf8_valid(bytes_of(text, sizeof text)));
        assert_false(utf8_valid(bytes_of(text, i + 1)));
        memcpy(text + i, "aa", 2);
    }
}

static void
an_error_is_one_printable_line_that_fits(void **state)
{
    struct coffer_error err = {0};
    char name[700];

    assert_int_equal(error_set(&err, COFFER_E_IO, "cannot open a\nb\x1b[2J%c", 0x7f), COFFER_E_IO);
    assert_int_equal(err.status, COFFER_E_IO);
    assert_null(strpbrk(err.message, "\n\x1b\x7f"));

    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    (void)error_set(&err, COFFER_E_IO, "%s", name);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);

    /* Cut between characters, never within one. */
    for (size_t i = 0; i + 2 < sizeof name; i += 2)
        memcpy(name + i, "\xc3\xa9", 2);
    for (int shift = 0; shift < 2; shift++) {
        (void)error_set(&err, COFFER_E_IO, "%s%s", shift ? "x" : "", name);
        assert_true(utf8_valid(bytes_str(err.message)));
        assert_true(strlen(err.message) >= sizeof err.message - 2);
    }
    (void)error_set(&err, COFFER_E_IO, "cannot open %s",
                    "caf\xe9 \xc3\xa9 \xc2\x9b"
                    "2J");
    assert_string_equal(err.message, "cannot open caf? \xc3\xa9 ??2J");
}

static void
a_prefix_adds_the_place_and_keeps_the_status(void **state)
{
    struct coffer_error err = {0};

    (void)error_set(&err, COFFER_E_AUTH, "authentication failed");
    assert_int_equal(error_prefix(&err, "table %s: ", "patients"), COFFER_E_AUTH);
    assert_string_equal(err.message, "table patients: authentication failed");
    assert_int_not_equal(error_prefix(NULL, "x"), COFFER_OK);
    assert_int_equal(error_set(NULL, COFFER_E_DB, "x"), COFFER_E_DB);
}

static void
names_are_those_of_the_public_header(void **state)
{
    assert_string_equal(coffer_status_name(COFFER_OK), "ok");
    assert_string_equal(coffer_status_name(COFFER_E_AUTH), "auth");
    assert_string_equal(coffer_status_name(COFFER_E_TAMPERED), "tampered");
    assert_string_equal(coffer_status_name(COFFER_E_RANGE), "range");
    assert_string_equal(coffer_status_name(-1), "unknown");
    assert_string_equal(coffer_status_name(COFFER_E_RANGE + 1), "unknown");
    for (int type = COFFER_BYTES; type <= COFFER_JSON; type++)
        assert_int_equal(coffer_type_parse(coffer_type_name(type)), type);
    assert_int_equal(coffer_type_parse("varchar"), -1);
    assert_string_equal(coffer_type_name(11), "?");
    assert_string_equal(coffer_phase_name(COFFER_OFF), "off");
    assert_string_equal(coffer_phase_name(COFFER_SEALED), "sealed");
    assert_string_equal(coffer_phase_name(4), "?");
    assert_string_equal(coffer_version(), COFFER_VERSION);
}

static void
numbers_are_in_groups_and_nouns_in_their_number(void **state)
{
    char text[32];

    grouped(999, text);
    assert_string_equal(text, "999");
    grouped(1000, text);
    assert_string_equal(text, "1 000");
    grouped(UINT64_MAX, text);
    assert_string_equal(text, "18 446 744 073 709 551 615");
    assert_string_equal(counted(0, "row").text, "0 rows");
    assert_string_equal(counted(1, "cell").text, "1 cell");
    assert_string_equal(counted(40000, "cell").text, "40 000 cells");
    assert_string_equal(counted(1, "pass").text, "1 pass");
    assert_string_equal(counted(2, "pass").text, "2 passes");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_in_groups_and_nouns_in_their_number),
        cmocka_unit_test(hex_round_trips_and_is_strict),
        cmocka_unit_test(base64url_gives_the_answers_of_its_rfc),
        cmocka_unit_test(base64url_takes_one_text_for_the_same_bytes_only),
        cmocka_unit_test(utf8_follows_rfc_3629),
        cmocka_unit_test(one_bad_byte_spoils_a_long_text_wherever_it_stands),
        cmocka_unit_test(an_error_is_one_printable_line_that_fits),
        cmocka_unit_test(a_prefix_adds_the_place_and_keeps_the_status),
        cmocka_unit_test(names_are_those_of_the_public_header),
    };

    return cmocka_run_group_tests_name("base: text and errors", tests, NULL, NULL);
}
