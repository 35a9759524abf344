/* SPDX-License-Identifier: Apache-2.0 */
/* Syncs that begin before they are asked for.
 *
 * A database that commits writes its log and then asks for a sync: two round trips, and only the second starts the disk.  A file that is
 * used so, each write followed by a sync, is synced as soon as its write is answered; the request to do it, which comes a
 * few dozen microseconds later, finds the sync under way or done, and waits for that one.
 *
 *     write ends ──▶ running ──────▶ done: up to change number `covers` everything is on the disk
 *                       │ ▲
 *          sync asked ──┘ └── may wait for it only if nothing has changed since it began
 *
 * A wrong guess costs one sync of the lower file: guessing stops until the file has twice been used as expected again.  What a
 * guessed sync fails with is told to those who wait for it, or else to the next one who asks, as a kernel would.
 */
#include "base/mem.h"
#include "volume/fuse/internal.h"

#include <fcntl.h>

enum { SURE = 2 };

/* A stream: pieces of at least this size; the disk starts on what is so far behind the newest one, so much at a time. */
enum { PIECE = 512 << 10, BEHIND = 8 << 20, WINDOW = 16 << 20 };

struct early {
    uint64_t changes; /* of the file's bytes and size, so far */
    uint64_t covers;  /* what the last early sync began after */
    uint64_t since;   /* changes since somebody asked for a sync */
    unsigned regular; /* how often in a row exactly one write came before that; not above SURE */
    bool running, done;
    int error; /* of an early sync that nobody has been told about */
    struct waiting *waiting;
};

struct waiting {
    struct waiting *next;
    fuse_req_t req;
};

void
early_free(struct inode *inode)
{
    mem_free(inode->early); /* whoever waits holds a reference to the inode, so nobody does */
}

void
early_changed(struct volume_fs *fs, struct inode *inode)
{
    pthread_mutex_t *stripe = inode_stripe(fs, inode);

    pthread_mutex_lock(stripe);
    if (inode->early != NULL) {
        inode->early->changes++;
        inode->early->since++;
    }
    pthread_mutex_unlock(stripe);
}

bool
early_expected(struct volume_fs *fs, struct inode *inode)
{
    pthread_mutex_t *stripe = inode_stripe(fs, inode);
    struct early *early;
    bool expected;

    pthread_mutex_lock(stripe);
    early = inode->early;
    expected = early != NULL && early->regular == SURE && early->since == 1 && !early->running &&
               early->error == 0;
    if (expected) {
        early->running = true;
        early->done = false;
        early->covers = early->changes;
    }
    pthread_mutex_unlock(stripe);
    if (expected)
        inode_retain(fs, inode); /* once the write is answered, the kernel may forget the file */
    return expected;
}

void
early_sync(struct volume_fs *fs, struct inode *inode)
{
    pthread_mutex_t *stripe = inode_stripe(fs, inode);
    int rc = file_sync_now(fs, inode, true);
    struct waiting *waiting, *next;

    pthread_mutex_lock(stripe);
    waiting = inode->early->waiting;
    inode->early->waiting = NULL;
    inode->early->running = false;
    inode->early->done = rc == 0;
    if (rc != 0 && waiting == NULL)
        inode->early->error = rc;
    pthread_mutex_unlock(stripe);
    for (; waiting != NULL; waiting = next) {
        next = waiting->next;
        reply_status(waiting->req, rc);
        mem_free(waiting);
    }
    inode_release(fs, inode, 1);
}

/* What this request says of the file's use; makes the record at the first one. */
static struct early *
asked(struct inode *inode)
{
    struct early *early = inode->early;

    if (early == NULL) {
        inode->early = mem_alloc(sizeof *early); /* none: no guesses */
        return inode->early;
    }
    if (early->since == 1)
        early->regular += early->regular < SURE;
    else if (early->since > 1)
        early->regular = 0;
    early->since = 0;
    return early;
}

bool
early_join(struct volume_fs *fs, struct inode *inode, fuse_req_t req, bool data_only, int *error)
{
    pthread_mutex_t *stripe = inode_stripe(fs, inode);
    struct waiting *waiting = mem_alloc(sizeof *waiting);
    bool joined = false, finished = false;
    struct early *early;

    pthread_mutex_lock(stripe);
    early = asked(inode);
    *error = 0;
    if (early != NULL) {
        *error = early->error;
        early->error = 0;
    }
    if (early != NULL && *error == 0 && data_only && waiting != NULL &&
        early->covers == early->changes && (early->running || early->done)) {
        joined = true;
        finished = !early->running;
        if (!finished) {
            waiting->req = req;
            waiting->next = early->waiting;
            early->waiting = waiting;
            waiting = NULL;
        }
    }
    pthread_mutex_unlock(stripe);
    mem_free(waiting);
    if (joined)
        atomic_fetch_add_explicit(&fs->joined, 1, memory_order_relaxed);
    if (finished)
        reply_status(req, 0);
    return joined;
}

/* The disk should not be idle while the kernel empties its cache into the lower file's, and then be waited for: long streams
 * go on to the disk as they come.  What is shorter than BEHIND may be gone before anybody wants it there. */
void
early_write_out(struct volume_fs *fs, struct inode *inode, uint64_t at, size_t size)
{
    uint64_t from = at < BEHIND + WINDOW ? 0 : at - BEHIND - WINDOW;
    int rc;

    if (size < PIECE || at < BEHIND || atomic_flag_test_and_set(&fs->writing_out))
        return;
    pthread_rwlock_rdlock(&inode->lock);
    rc = inode_pin(fs, inode, REACH_NODE, NULL);
    pthread_rwlock_unlock(&inode->lock);
    if (rc == 0) { /* only a hint: positions differ by a header, and a failure comes up in a sync */
        (void)sync_file_range(inode->fd, (off_t)from, (off_t)(at - BEHIND - from),
                              SYNC_FILE_RANGE_WRITE);
        inode_unpin(fs, inode);
    }
    atomic_flag_clear(&fs->writing_out);
}
