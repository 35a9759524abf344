/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include "base/os.h"
#include "base/secret.h"
#include "cli/vectors.h"

#include <stdio.h>
#include <string.h>

static const char *path;

static void
complain(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "does not hold: %s\n", line);
}

/* All 35 valid and 32 invalid cases. */
static void
every_published_case_holds(void **state)
{
    unsigned passed = 0, failed = 0;
    struct coffer_error err = {0};
    struct buf file;

    buf_init(&file, 4u << 20);
    assert_int_equal(os_real.read_file(&os_real, path, 4u << 20, &file, &err), COFFER_OK);
    assert_int_equal(vectors_run(buf_view(&file), &passed, &failed, complain, NULL, &err),
                     COFFER_OK);
    assert_int_equal(failed, 0);
    assert_int_equal(passed, 35 + 32);
    buf_wipe(&file);
    assert_int_equal(secret_live_count(), 0);
}

/* A file that is not in the format is refused with the place. */
static void
malformed_files_name_the_case(void **state)
{
    static const char *const FILES[] = {
        "", "[]", "{\"format\":\"coffer field vectors 1\"}",
        "{\"format\":\"coffer field vectors 1\",\"valid\":[{}],\"invalid\":[]}",
        "{\"format\":\"coffer field vectors 1\",\"valid\":[7],\"invalid\":[]}"};
    unsigned passed, failed;
    size_t i;

    for (i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        struct coffer_error err = {0};

        assert_int_equal(vectors_run(bytes_str(FILES[i]), &passed, &failed, NULL, NULL, &err),
                         COFFER_E_FORMAT);
        assert_true(strlen(err.message) > 10);
    }
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_published_case_holds),
        cmocka_unit_test(malformed_files_name_the_case),
    };

    path = argc > 1 ? argv[1] : "tests/kat/field-vectors.json";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
