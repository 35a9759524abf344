/* SPDX-License-Identifier: Apache-2.0 */
/* Is what lies below a mount ciphertext?  A marker is planted, and looked for.
 *
 * Names may be encrypted, so the lower file is found by what it cannot hide: that it was written just now, and how long it is.  Files of
 * others that look like it are read as well, which does no harm. */
#include "base/mem.h"
#include "deploy/engines/doctor_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MARKER 32
#define PLANTED 16384 /* bytes of it */
#define LOWER_MAX 65536

struct search {
    char marker[MARKER + 1];
    time_t since;
    unsigned seen, found;
};

static bool
plant(struct trial *trial, struct search *search)
{
    int fd = trial_open(trial, "marker", O_WRONLY | O_CREAT);
    uint8_t raw[MARKER / 2];
    size_t i;
    bool ok = fd >= 0 && getrandom(raw, sizeof raw, 0) == (ssize_t)sizeof raw;

    if (ok)
        hex_encode(bytes_of(raw, sizeof raw), search->marker);
    for (i = 0; ok && i < PLANTED / MARKER; i++)
        ok = write(fd, search->marker, MARKER) == MARKER;
    ok = ok && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static void
look(struct search *search, const char *path, const struct stat *st, char *room)
{
    int fd;
    ssize_t len;

    if (!S_ISREG(st->st_mode) || st->st_size < PLANTED || st->st_size > LOWER_MAX ||
        st->st_mtime < search->since)
        return;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    len = read(fd, room, LOWER_MAX);
    close(fd);
    search->seen += len >= PLANTED;
    search->found += len > 0 && memmem(room, (size_t)len, search->marker, MARKER) != NULL;
}

static int
walk(struct search *search, const char *lower)
{
    char *where = mem_strdup(lower), *room = mem_alloc(LOWER_MAX);
    char *const roots[] = {where, NULL};
    FTS *tree = where != NULL && room != NULL
                    ? fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL)
                    : NULL;
    FTSENT *entry;

    while (tree != NULL && (entry = fts_read(tree)) != NULL)
        if (entry->fts_info == FTS_F)
            look(search, entry->fts_path, entry->fts_statp, room);
    if (tree != NULL)
        fts_close(tree);
    mem_free(room);
    mem_free(where);
    return tree != NULL ? 0 : -1;
}

void
trial_ciphertext(struct trial *trial)
{
    struct search search = {.since = time(NULL) - 2};

    if (trial->lower == NULL)
        return;
    if (!plant(trial, &search))
        trial_say(trial, "fail", "cannot write a marker: %s", strerror(errno));
    else if (walk(&search, trial->lower) != 0)
        trial_say(trial, "fail", "cannot look through %.200s: %s", trial->lower, strerror(errno));
    else if (search.found > 0)
        trial_say(
            trial, "fail",
            "what was written on the mount lies in clear in %.200s: this is no encrypted volume",
            trial->lower);
    else if (search.seen == 0)
        trial_say(trial, "warn",
                  "no file in %.200s was written meanwhile: is it the mount's lower folder?",
                  trial->lower);
    else
        trial_say(trial, "ok", "a marker written on the mount is in no file below");
}
