/* SPDX-License-Identifier: Apache-2.0 */
/* KEK providers: every allocation fails once, and no secret is left behind. */
#include "base/mem.h"
#include "kek/kek_open.h"
#include "keyring/keyring.h"
#include "support/fault.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], key_path[100], key_uri[120], passphrase_path[100], passphrase_uri[120];

static int
setup(void **state)
{
    FILE *f;

    strcpy(folder, "/tmp/coffer-kek-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(key_path, sizeof key_path, "%s/kek.bin", folder);
    snprintf(key_uri, sizeof key_uri, "file:%s", key_path);
    snprintf(passphrase_path, sizeof passphrase_path, "%s/passphrase", folder);
    snprintf(passphrase_uri, sizeof passphrase_uri, "passphrase:%s", passphrase_path);
    f = fopen(passphrase_path, "w");
    assert_non_null(f);
    fputs("correct horse battery staple\n", f);
    assert_int_equal(fchmod(fileno(f), 0600), 0);
    fclose(f);
    return 0;
}

static int
teardown(void **state)
{
    unlink(key_path);
    unlink(passphrase_path);
    rmdir(folder);
    assert_int_equal(secret_live_count(), 0);
    return 0;
}

/* A key file that could not be finished is not there: the next attempt makes one. */
static int
try_prepare(void)
{
    bool made = false;
    int rc = kek_prepare(key_uri, &os_real, &made, NULL);

    assert_int_equal(made, rc == COFFER_OK);
    assert_int_equal(access(key_path, F_OK) == 0, rc == COFFER_OK);
    return rc;
}

static int
try_open(const char *uri)
{
    struct kek *kek = NULL;
    int rc = kek_open(uri, &os_real, NULL, NULL, &kek, NULL);

    assert_int_equal(kek != NULL, rc == COFFER_OK);
    kek_close(kek);
    return rc;
}

static int
try_open_key(void)
{
    return try_open(key_uri);
}

static int
try_open_passphrase(void)
{
    return try_open(passphrase_uri);
}

static int
try_secret(void)
{
    struct secret *secret = NULL;
    int kind = 0, rc = kek_secret(passphrase_uri, &os_real, NULL, NULL, &kind, &secret, NULL);

    assert_int_equal(secret != NULL, rc == COFFER_OK);
    secret_free(secret);
    return rc;
}

/* What wraps a new root key; each try that gets so far costs an Argon2id. */
static int
try_new(void)
{
    struct kek *kek = NULL;
    struct keyring *kr = NULL;
    int rc = kek_open(passphrase_uri, &os_real, NULL, NULL, &kek, NULL);

    if (rc == COFFER_OK)
        rc = keyring_new(kek, "test", 1, &kr, NULL);
    assert_int_equal(kr != NULL, rc == COFFER_OK);
    keyring_free(kr);
    kek_close(kek);
    return rc;
}

static void
every_allocation_failure_is_clean(void **state)
{
    fault_every_allocation("kek_prepare", try_prepare, 1);
    fault_every_allocation("kek_open file:", try_open_key, 2);
    fault_every_allocation("kek_open passphrase:", try_open_passphrase, 2);
    fault_every_allocation("kek_secret", try_secret, 1);
    fault_every_allocation("a keyring under a passphrase", try_new, 8);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_allocation_failure_is_clean, setup, teardown)};

    return cmocka_run_group_tests_name("kek fault", tests, NULL, NULL);
}
