/* SPDX-License-Identifier: Apache-2.0 */
#include "support/tar.h"

#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 512u
#define XATTR "SCHILY.xattr.user.ecryptfs"

static uint8_t *
take(FILE *f, size_t len)
{
    size_t whole = (len + BLOCK - 1) / BLOCK * BLOCK;
    uint8_t *data = malloc(whole + 1);

    assert_non_null(data);
    assert_int_equal(fread(data, 1, whole, f), whole);
    data[len] = 0;
    return data;
}

static void
copy_text(char *out, size_t room, const void *text, size_t len)
{
    assert_true(len < room);
    memcpy(out, text, len);
    out[len] = '\0';
}

/* Records "LENGTH KEY=VALUE\n" of a pax header. */
static void
read_pax(uint8_t *data, size_t len, struct tar_entry *entry, bool *named, bool *linked)
{
    for (size_t at = 0; at < len;) {
        char *end, *record = (char *)data + at;
        size_t record_len = strtoul(record, &end, 10);
        char *key = end + 1, *equals = memchr(key, '=', record_len);
        size_t value_len;

        assert_true(record_len > 0 && at + record_len <= len && equals != NULL);
        value_len = (size_t)(record + record_len - 1 - (equals + 1));
        *equals = '\0';
        if (strcmp(key, "path") == 0) {
            copy_text(entry->path, sizeof entry->path, equals + 1, value_len);
            *named = true;
        } else if (strcmp(key, "linkpath") == 0) {
            copy_text(entry->link, sizeof entry->link, equals + 1, value_len);
            *linked = true;
        } else if (strcmp(key, XATTR) == 0) {
            entry->xattr = bytes_of(equals + 1, value_len);
        }
        at += record_len;
    }
}

void
tar_read(const char *path, void (*each)(void *arg, const struct tar_entry *entry), void *arg)
{
    static struct tar_entry entry;
    uint8_t block[BLOCK], *content, *pax = NULL, *name = NULL;
    bool named = false, linked = false;
    char command[1100];
    FILE *f;

    (void)snprintf(command, sizeof command, "xz -dc '%s'", path);
    f = popen(command, "re");
    assert_non_null(f);
    memset(&entry, 0, sizeof entry);
    while (fread(block, 1, BLOCK, f) == BLOCK && block[0] != 0) {
        size_t len = strtoul((char *)block + 124, NULL, 8);
        char type = (char)block[156];

        assert_memory_equal(block + 257, "ustar", 5);
        content = take(f, type == TAR_HARD_LINK || type == TAR_SYMLINK ? 0 : len);
        if (type == 'x') {
            pax = content;
            read_pax(pax, len, &entry, &named, &linked);
            continue;
        }
        if (type == 'L') { /* GNU's long name */
            name = content;
            copy_text(entry.path, sizeof entry.path, name, strlen((char *)name));
            named = true;
            free(name);
            continue;
        }
        if (type == 'K') {
            copy_text(entry.link, sizeof entry.link, content, strlen((char *)content));
            linked = true;
            free(content);
            continue;
        }
        if (!named)
            (void)snprintf(entry.path, sizeof entry.path, "%.155s%s%.100s", (char *)block + 345,
                           block[345] != 0 ? "/" : "", (char *)block);
        if (!linked)
            copy_text(entry.link, sizeof entry.link, block + 157,
                      strnlen((char *)block + 157, 100));
        entry.type = (enum tar_type)type;
        entry.content = bytes_of(content, len);
        each(arg, &entry);
        free(content);
        free(pax);
        pax = NULL;
        named = linked = false;
        memset(&entry, 0, sizeof entry);
    }
    while (fread(block, 1, BLOCK, f) > 0) /* or xz would die of a broken pipe */
        ;
    assert_int_equal(pclose(f), 0);
}
