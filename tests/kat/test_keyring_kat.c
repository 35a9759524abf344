/* SPDX-License-Identifier: Apache-2.0 */
/* Keyring files as version 1 wrote them.  They are never made anew: a release that cannot read them
 * has lost somebody's keys.
 *
 * Run with `--write FOLDER` to make them, for a new version of the format under new names.
 */
#include "base/os.h"
#include "keyring/internal.h"
#include "support/keyring_sample.h"
#include "support/test.h"

#include <stdio.h>
#include <string.h>

static const char *folder;

/* The sample, encoded; or one of its keys in an escrow file. */
static void
make(bool passphrase, bool escrow, struct buf *out)
{
    struct keyring *kr = keyring_sample(passphrase), *one = NULL;

    if (escrow)
        assert_int_equal(keyring_extract(kr, SAMPLE_PROVEN_ID, NULL, &one, NULL), COFFER_OK);
    buf_init(out, KEYRING_FILE_MAX);
    assert_int_equal(keyring_encode(escrow ? one : kr, out, NULL), COFFER_OK);
    keyring_free(one);
    keyring_free(kr);
}

static const struct {
    const char *name;
    bool passphrase, escrow;
} files[] = {{"v1-key.coffer", false, false},
             {"v1-passphrase.coffer", true, false},
             {"v1-escrow.coffer", false, true}};
#define FILES (sizeof files / sizeof files[0])

static void
stored(size_t i, struct buf *out)
{
    char path[4096];
    struct coffer_error err = {0};

    snprintf(path, sizeof path, "%s/%s", folder, files[i].name);
    buf_init(out, KEYRING_FILE_MAX);
    if (os_real.read_file(&os_real, path, KEYRING_FILE_MAX, out, &err) != COFFER_OK)
        fail_msg("%s", err.message);
}

static void
version_1_reads(void **state)
{
    (void)state;
    for (size_t i = 0; i < FILES; i++) {
        struct kek *kek = keyring_sample_kek(files[i].passphrase);
        struct keyring *kr;
        struct coffer_error err = {0};
        struct buf file;

        stored(i, &file);
        if (keyring_decode(buf_view(&file), kek, &kr, &err) != COFFER_OK)
            fail_msg("%s: %s", files[i].name, err.message);
        assert_int_equal(keyring_epoch(kr), SAMPLE_EPOCH + 1);
        assert_int_equal(keyring_is_escrow(kr), files[i].escrow);
        assert_int_equal(keyring_key_count(kr), files[i].escrow ? 1 : 5);
        assert_int_equal(keyring_column_count(kr), files[i].escrow ? 0 : 2);
        assert_int_equal(keyring_key(kr, SAMPLE_PROVEN_ID)->state, KEY_PROVEN);
        assert_int_equal(secret_expose(keyring_material(kr, SAMPLE_PROVEN_ID)).ptr[0], 0x22);
        keyring_free(kr);
        kek_close(kek);
        buf_wipe(&file);
    }
}

/* Nothing in the writer moved: the same content still gives the same bytes. */
static void
version_1_writes_the_same_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < FILES; i++) {
        struct buf file, again;

        stored(i, &file);
        make(files[i].passphrase, files[i].escrow, &again);
        assert_int_equal(again.len, file.len);
        assert_memory_equal(again.ptr, file.ptr, file.len);
        buf_wipe(&file);
        buf_wipe(&again);
    }
}

static int
write_files(void)
{
    for (size_t i = 0; i < FILES; i++) {
        char path[4096];
        struct coffer_error err = {0};
        struct buf file;
        int rc;

        make(files[i].passphrase, files[i].escrow, &file);
        snprintf(path, sizeof path, "%s/%s", folder, files[i].name);
        rc = os_real.write_file(&os_real, path, buf_view(&file), 0644, true, &err);
        buf_wipe(&file);
        if (rc != COFFER_OK) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
    }
    return 0;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1_reads),
        cmocka_unit_test(version_1_writes_the_same_bytes),
    };

    folder = argc > 1 ? argv[argc - 1] : ".";
    if (argc == 3 && strcmp(argv[1], "--write") == 0)
        return write_files();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
