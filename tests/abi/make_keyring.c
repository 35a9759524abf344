/* SPDX-License-Identifier: Apache-2.0 */
/* make_keyring FILE KEY-FILE: the sample keyring with a column people.ssn, for the man page's
 * program. */
#include "support/keyring_sample.h"
#include "support/test.h"

#include "base/os.h"

#include <string.h>

int
main(int argc, char **argv)
{
    struct keyring_column column = {.table = "people",
                                    .name = "ssn",
                                    .type = COFFER_TEXT,
                                    .binding = COFFER_BIND_ROW,
                                    .suite = COFFER_SUITE_XAES,
                                    .phase = COFFER_SEALED,
                                    .line = "main",
                                    .parts = {{"id", COFFER_INT64}},
                                    .part_count = 1};
    struct keyring *kr = keyring_sample(false);
    uint8_t key[32];
    struct buf file;
    bool good;

    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)i;
    memset(column.id.b, 0xa1, sizeof column.id.b);
    memset(column.database.b, 0xd1, sizeof column.database.b);
    buf_init(&file, KEYRING_FILE_MAX);
    good = argc == 3 && keyring_column_put(kr, &column, NULL) == COFFER_OK &&
           keyring_encode(kr, &file, NULL) == COFFER_OK &&
           os_real.write_file(&os_real, argv[1], buf_view(&file), 0600, false, NULL) == COFFER_OK &&
           os_real.write_file(&os_real, argv[2], bytes_of(key, sizeof key), 0600, false, NULL) ==
               COFFER_OK;
    buf_wipe(&file);
    keyring_free(kr);
    return good ? 0 : 1;
}
