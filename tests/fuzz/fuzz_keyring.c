/* SPDX-License-Identifier: Apache-2.0 */
/* Keyring files.  The first byte of an input chooses the way in:
 *   even  the rest is a file
 *   odd   the rest is the records of a file, whose header and trailer are made here: else the tag
 * would keep all of it out What decodes must encode, and decode again to the same bytes. */
#include "base/mem.h"
#include "keyring/internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct kek *kek;
static struct secret *root;

static void
expect(bool true_always)
{
    if (!true_always)
        abort();
}

static void
start(void)
{
    uint8_t key[KEK_KEY_LEN];

    if (kek != NULL)
        return;
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)i; /* as in tests/support/keyring_sample.c */
    expect(kek_key_new(bytes_of(key, sizeof key), &kek, NULL) == COFFER_OK);
    expect(secret_copy(bytes_of(key, sizeof key), &root, NULL) == COFFER_OK);
}

static void
check_round_trip(struct keyring *kr)
{
    struct keyring *back = NULL;
    struct buf first, second;

    buf_init(&first, KEYRING_FILE_MAX);
    buf_init(&second, KEYRING_FILE_MAX);
    if (kr->epoch < UINT64_MAX) {
        expect(keyring_encode(kr, &first, NULL) == COFFER_OK);
        expect(keyring_decode(buf_view(&first), kek, &back, NULL) == COFFER_OK);
        back->epoch--;
        expect(keyring_encode(back, &second, NULL) == COFFER_OK);
        expect(bytes_equal(buf_view(&first), buf_view(&second)));
    }
    keyring_free(back);
    buf_wipe(&first);
    buf_wipe(&second);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct keyring *kr = NULL;
    struct coffer_error err = {0};
    struct uuid id;
    struct buf file;
    int rc;

    start();
    if (len == 0)
        return 0;
    buf_init(&file, KEYRING_FILE_MAX);
    if (data[0] % 2 == 0) {
        buf_add(&file, data + 1, len - 1);
    } else {
        memset(id.b, 0x5a, sizeof id.b);
        file_begin(&file, (data[0] & 2) != 0 ? FILE_ESCROW : FILE_KEYRING, &id, 7, COFFER_KEK_KEY,
                   bytes_of(NULL, 0));
        buf_add(&file, data + 1, len - 1);
        expect(file_finish(&file, root, &id, NULL) == COFFER_OK);
    }
    rc = keyring_decode(buf_view(&file), kek, &kr, &err);
    expect((rc == COFFER_OK) == (kr != NULL));
    expect(rc == COFFER_OK || (err.status == rc && err.message[0] != '\0'));
    if (kr != NULL)
        check_round_trip(kr);
    keyring_free(kr);
    buf_wipe(&file);
    return 0;
}
