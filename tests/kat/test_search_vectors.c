/* SPDX-License-Identifier: Apache-2.0 */
/* test_search_vectors FILE SECTION=CASES ...: each of these sections (or several, joined by +) has
 * that many cases, and all of them hold. */
#include "support/test.h"

#include "base/os.h"
#include "base/secret.h"
#include "cli/vectors.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *published;
static char **sections;

static void
complain(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "does not hold: %s\n", line);
}

static int
run_file(json_t *file, const char *name, unsigned *passed, unsigned *failed)
{
    struct coffer_error err = {0};
    char *text = json_dumps(file, 0);
    int rc;

    assert_non_null(text);
    rc = vectors_run(bytes_str(text), passed, failed, complain, NULL, &err);
    if (rc != COFFER_OK)
        fprintf(stderr, "%s: %s\n", name, err.message);
    free(text);
    return rc;
}

static int
run_section(const char *name, json_t *content, unsigned *passed, unsigned *failed)
{
    json_t *file = json_pack("{s:s,s:O}", "format", "coffer search vectors 1", name, content);
    int rc = run_file(file, name, passed, failed);

    json_decref(file);
    return rc;
}

static void
every_published_case_holds(void **state)
{
    for (char **section = sections; *section != NULL; section++) {
        json_t *file = json_pack("{s:s}", "format", "coffer search vectors 1");
        unsigned passed = 0, failed = 0;
        char *words = strdup(*section), *equals = strchr(words, '='), *name, *rest;

        assert_non_null(equals);
        *equals = '\0';
        for (name = strtok_r(words, "+", &rest); name != NULL; name = strtok_r(NULL, "+", &rest))
            assert_int_equal(json_object_set(file, name, json_object_get(published, name)), 0);
        assert_int_equal(run_file(file, *section, &passed, &failed), COFFER_OK);
        fprintf(stderr, "%s: %u passed, %u failed\n", *section, passed, failed);
        assert_int_equal(failed, 0);
        assert_int_equal(passed, atoi(equals + 1));
        free(words);
        json_decref(file);
    }
    assert_int_equal(secret_live_count(), 0);
}

/* An answer that is not the program's is counted as failed: one hex digit of each key is changed. */
static void
a_wrong_key_is_seen(void **state)
{
    unsigned passed = 0, failed = 0;
    json_t *list = json_deep_copy(json_object_get(published, "kdf"));
    size_t i;
    json_t *json;

    json_array_foreach(list, i, json)
    {
        char *key = strdup(json_string_value(json_object_get(json, "key")));

        key[0] = key[0] == '0' ? '1' : '0';
        json_object_set_new(json, "key", json_string(key));
        free(key);
    }
    assert_int_equal(run_section("kdf", list, &passed, &failed), COFFER_OK);
    assert_int_equal(passed, 0);
    assert_int_equal(failed, json_array_size(list));
    json_decref(list);
}

static void
unknown_sections_are_an_error(void **state)
{
    unsigned passed, failed;
    json_t *list = json_array();

    assert_int_equal(run_section("kdg", list, &passed, &failed), COFFER_E_FORMAT);
    json_decref(list);
}

/* Members of every case are left out in turn: an error that names the case, never a crash. */
static void
malformed_cases_are_refused(void **state)
{
    for (char **section = sections; *section != NULL; section++) {
        unsigned passed, failed;
        char name[60];
        json_t *content, *json, *list;
        const char *member;
        void *next;

        (void)snprintf(name, sizeof name, "%.*s", (int)(strchr(*section, '=') - *section),
                       *section);
        content = json_object_get(published, name);
        if (!json_is_array(content))
            continue;
        json = json_array_get(content, 0);
        json_object_foreach_safe(json, next, member, list)
        {
            json_t *copy = json_deep_copy(json), *one = json_array();

            json_object_del(copy, member);
            json_array_append_new(one, copy);
            (void)!run_section(name, one, &passed, &failed);
            json_decref(one);
        }
    }
    assert_int_equal(secret_live_count(), 0);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_published_case_holds),
        cmocka_unit_test(a_wrong_key_is_seen),
        cmocka_unit_test(unknown_sections_are_an_error),
        cmocka_unit_test(malformed_cases_are_refused),
    };
    int rc;

    if (argc < 3)
        return 2;
    published = json_load_file(argv[1], 0, NULL);
    if (published == NULL)
        return 2;
    sections = argv + 2;
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(published);
    return rc;
}
