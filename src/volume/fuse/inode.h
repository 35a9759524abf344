/* SPDX-License-Identifier: Apache-2.0 */
/* Inodes of a running filesystem: one for each lower file that somebody knows of.
 *
 * An inode is found by the lower file's (device, number), so that all names of a file and all who open it share one lock, one
 * lower descriptor and one open volume file.  It lives as long as it is referred to: by the kernel, or by whoever called
 * inode_acquire().
 *
 * The lower descriptor is opened on demand and closed again, least recently used first, when there are too many.  While an
 * inode is pinned it stays.  Regular files are open for reading and writing whatever the caller asked for: a write-back cache
 * reads what it completes.  A file without a name left keeps its descriptor to the end.
 */
#ifndef COFFER_VOLUME_FUSE_INODE_H
#define COFFER_VOLUME_FUSE_INODE_H

#include "volume/format.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

struct volume_fs;
struct mirror;
struct early;
struct file_handle;

enum reach {
    REACH_NODE, /* a descriptor, perhaps O_PATH: enough for fstat and /proc/self/fd */
    REACH_FILE, /* regular files: inode->file is open */
};
enum access { ACCESS_NONE, ACCESS_PATH, ACCESS_READ, ACCESS_WRITE };

struct inode {
    dev_t dev; /* of the lower file; changes only with inode->lock held alone */
    ino_t ino;
    uint64_t shown; /* the number callers see; stays when a rotation replaces the lower file */
    mode_t type;    /* S_IFMT */
    struct file_handle *handle;

    struct inode *next, *next_shown; /* table */
    struct inode *before;            /* without a name: the list of those */
    bool nameless;
    uint64_t refs;
    bool hashed;

    int fd; /* stripe: this and what follows */
    uint8_t access;
    bool keep; /* not to be closed: no name left, or no other way to open it again */
    unsigned pins;
    struct lower *lower; /* over fd, regular files; NULL once `file` has taken it over */
    struct volume_file *file;

    struct inode *newer, *older; /* cache */
    bool cached;
    atomic_bool used;

    pthread_rwlock_t lock;
    unsigned opens;           /* stripe */
    atomic_bool direct;      /* opened past the kernel's cache */
    bool stale_cache;         /* the kernel may hold pages from before a direct open */
    atomic_bool reported;     /* damage, once */
    atomic_bool privileged;   /* may have set-uid or set-gid bits */
    atomic_bool direct_name;  /* its present name asks for that */
    atomic_uint_least32_t folders; /* folders: direct_folders() of the name */
    struct mirror *mirror;    /* inode->lock */
    struct early *early;      /* stripe; NULL until somebody syncs */
};

/* ---- for the core and for rotation ---- */

/* The inode of a lower name in a lower folder, made if nobody knew it; with a reference that inode_release() gives back.
 * -ENOENT, or what the lower filesystem says. */
int inode_acquire(struct volume_fs *fs, int folder_fd, const char *lower_name, struct inode **out);
void inode_release(struct volume_fs *fs, struct inode *inode, uint64_t count);

/* The inode with this lower identity if somebody knows it, else NULL; with a reference. */
struct inode *inode_find(struct volume_fs *fs, dev_t dev, ino_t ino);

/* Call `visit` for every inode known now; those that come meanwhile may be missed.  Ends when it returns non-zero, and
 * returns that.  No lock is held during the call; the reference is taken and given back here. */
int inode_each(struct volume_fs *fs, int (*visit)(void *arg, struct inode *inode), void *arg);

/* The same for those that have no name left. */
int inode_each_nameless(struct volume_fs *fs, int (*visit)(void *arg, struct inode *inode), void *arg);

/* Make the inode reachable until inode_unpin().  For regular files inode->lock must be held, shared at least, until then
 * (but see file_sync in format.h).  0 or a negative errno; -EBADMSG and -EKEYREJECTED are not yet reported. */
int inode_pin(struct volume_fs *fs, struct inode *inode, enum reach reach, struct coffer_error *err);
void inode_unpin(struct volume_fs *fs, struct inode *inode);

/* ---- for the core ---- */

int inode_table_open(struct volume_fs *fs);
void inode_table_close(struct volume_fs *fs); /* closes every file, known to the kernel or not */
void inode_retain(struct volume_fs *fs, struct inode *inode);
/* A new inode over `fd` (taken over, closed on failure), a regular file with `file` open on it or NULL. */
int inode_adopt(struct volume_fs *fs, int fd, enum access access, struct volume_file *file, const struct stat *st,
                struct inode **out);
/* The lower file has lost its last name: nobody finds it any more by its number, which may be used again (but see
 * inode_each_nameless()). */
void inode_forget_number(struct volume_fs *fs, struct inode *inode);
/* The lower file is now another one; both locked alone, pinned by the caller alone.  Takes fd and file over, closes the old ones.
 * A symbolic link: `fd` is an O_PATH one and `file` NULL. */
void inode_replace(struct volume_fs *fs, struct inode *inode, int fd, struct volume_file *file, const struct stat *st);
/* Open for writing what could be opened only for reading so far; inode->lock held. */
int inode_make_writable(struct volume_fs *fs, struct inode *inode);
void inode_keep(struct volume_fs *fs, struct inode *inode);
uint64_t inode_shown_number(struct volume_fs *fs, dev_t dev, ino_t ino);
pthread_mutex_t *inode_stripe(struct volume_fs *fs, const struct inode *inode);
size_t inode_count(struct volume_fs *fs);
size_t inode_descriptor_count(struct volume_fs *fs);

/* ---- between inode.c and inode_fd.c ---- */

int inode_cache_open(struct volume_fs *fs, unsigned max);
bool inode_handles_work(int folder_fd);
/* First descriptor of a new inode, taken over even on failure (inode_close closes it). */
int inode_give_fd(struct volume_fs *fs, struct inode *inode, int fd, enum access access, struct volume_file *file);
void inode_swap_fd(struct volume_fs *fs, struct inode *inode, int fd, struct volume_file *file);
void inode_close(struct volume_fs *fs, struct inode *inode);
void inode_make_room(struct volume_fs *fs);

#endif
