/* SPDX-License-Identifier: Apache-2.0 */
/* How gone the plaintext of a column is: three levels, recorded as meta row "plaintext.<column
 * id>". */
#include "rotate/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *
plaintext_level_name(unsigned level)
{
    static const char *const NAMES[] = {"readable", "not selectable", "not in live tuples",
                                        "not in the files"};

    return NAMES[level < 4 ? level : 0];
}

int
plaintext_level(struct session *s, const struct uuid *column, unsigned *level,
                struct coffer_error *err)
{
    char key[64], id[37];
    struct buf content;
    uint64_t epoch;
    int rc;

    *level = 0;
    uuid_format(column, id);
    snprintf(key, sizeof key, "plaintext.%s", id);
    buf_init(&content, 256);
    rc = journal_get(&s->database->journal, "meta", key, &content, &epoch, err);
    if (rc == COFFER_OK && strncmp(buf_cstr(&content), "{\"level\":", 9) == 0)
        *level = (unsigned)strtoul(buf_cstr(&content) + 9, NULL, 10);
    buf_wipe(&content);
    return rc == COFFER_E_NOTFOUND || rc == COFFER_E_TAMPERED ? COFFER_OK
                                                              : rc; /* then nothing is claimed */
}

int
plaintext_level_set(struct session *s, const struct uuid *column, unsigned level,
                    struct coffer_error *err)
{
    char key[64], id[37], text[32];
    struct buf content;
    uint64_t epoch = 0;
    int rc;

    uuid_format(column, id);
    snprintf(key, sizeof key, "plaintext.%s", id);
    snprintf(text, sizeof text, "{\"level\":%u}", level);
    buf_init(&content, 256);
    rc = journal_get(&s->database->journal, "meta", key, &content, &epoch, err);
    buf_wipe(&content);
    if (rc != COFFER_OK && rc != COFFER_E_NOTFOUND)
        return rc;
    return journal_put(&s->database->journal, "meta", key, bytes_str(text),
                       rc == COFFER_OK ? epoch : 0, err);
}
