/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a SQLite database as they are on disk: its file, its -wal, its -journal. */
#include "base/mem.h"
#include "db/sqlite/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PIECE (1u << 20)

static int
read_piece(int fd, uint8_t *out, size_t len, size_t *got)
{
    *got = 0;
    while (*got < len) {
        ssize_t n = read(fd, out + *got, len - *got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return 0;
}

static int
give_file(const char *path, size_t overlap, db_file_fn fn, void *arg, struct coffer_error *err)
{
    uint8_t *piece = mem_alloc(PIECE + overlap);
    size_t kept = 0, got = 0;
    uint64_t at = 0;
    int rc = COFFER_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (piece == NULL || fd < 0) {
        rc = piece == NULL ? error_nomem(err)
             : errno == ENOENT
                 ? COFFER_OK
                 : error_set(err, COFFER_E_IO, "cannot read %s: %s", path, strerror(errno));
        goto out;
    }
    for (;;) {
        if (read_piece(fd, piece + kept, PIECE, &got) != 0) {
            rc = error_set(err, COFFER_E_IO, "cannot read %s: %s", path, strerror(errno));
            break;
        }
        if (got == 0)
            break;
        rc = fn(arg, path, at - kept, bytes_of(piece, kept + got), err);
        if (rc != COFFER_OK)
            break;
        at += got;
        got += kept;
        kept = got < overlap ? got : overlap;
        memmove(piece, piece + got - kept, kept);
    }
out:
    if (fd >= 0)
        close(fd);
    mem_free(piece);
    return rc;
}

int
sqlite_files(struct db *db, const struct db_table *table, size_t overlap, db_file_fn fn, void *arg,
             bool *readable, struct coffer_error *err)
{
    static const char *const SUFFIXES[] = {"", "-wal", "-journal"};
    const char *name = sqlite3_db_filename(handle_of(db), "main");
    char path[4096];
    size_t i;
    int rc = COFFER_OK;

    (void)table; /* one file holds all tables */
    *readable = name != NULL && name[0] != '\0';
    for (i = 0; rc == COFFER_OK && *readable && i < sizeof SUFFIXES / sizeof *SUFFIXES; i++) {
        if ((size_t)snprintf(path, sizeof path, "%s%s", name, SUFFIXES[i]) >= sizeof path)
            return error_set(err, COFFER_E_LIMIT, "the path of the database is too long");
        rc = give_file(path, overlap, fn, arg, err);
    }
    return rc;
}
