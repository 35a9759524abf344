/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of rotate/ share among themselves.
 *
 *   walk.c      the order of things              tree.c      every entry below a folder
 *   visit.c     what a file needs                progress.c  counters, and the steps between which one may stop
 *   rewrap.c    batches of headers               undo.c      their record
 *   reencrypt.c copies, nobody using the files   online.c    copies of files in use; moved.c  what slipped past
 *   links.c     files with several names         relink.c    their record
 *   pace.c      how fast                         walker.c    the thread beside a mount
 *   recover.c   after a crash                    scan.c      the proof
 *
 * Functions return COFFER_OK or why the walk cannot go on, said in walk->err; what hinders one file alone goes to walk_miss().
 */
#ifndef COFFER_VOLUME_ROTATE_INTERNAL_H
#define COFFER_VOLUME_ROTATE_INTERNAL_H

#include "volume/rotate/walk.h"

#include <pthread.h>
#include <sys/stat.h>

#define OWN_PREFIX ".coffer" /* lower names that begin so are Coffer's own */
#define HEADER_BYTES 512     /* what a rewrap writes, for progress and pace */

/* ---- tree.c ---- */

struct tree_entry {
    int folder;             /* open for reading */
    const char *name;       /* within it; "" is the folder itself: the end of it, its entries were visited */
    const char *path;       /* from the top */
    const struct stat *st;
};
struct tree {
    int root;
    bool own; /* entries of Coffer's own are visited, too */
    int (*visit)(void *arg, const struct tree_entry *entry); /* folders: after what is in them */
    /* A folder that cannot be read; NULL: an error of the walk. */
    int (*trouble)(void *arg, const char *path, int error);
    void *arg;
};
/* Visit everything below `folder`/`name` ("": all of `folder`), and that itself; `path` is where it is, for messages.  What is gone
 * meanwhile is passed over.  Stops when `visit` returns other than 0, and returns that; or a negative errno.  Other filesystems mounted
 * below are not entered. */
int tree_walk(const struct tree *tree, int folder, const char *name, const char *path);
/* Open a path that tree_walk() gave, component by component, without following links; for its folder, see path_folder(). */
int path_folder(int root, const char *path, const char **name);

/* ---- pace.c ---- */

struct pace {
    double since;        /* when work went on, seconds of the monotonic clock; 0: not yet */
    double owed;         /* seconds to be slept */
    double window;       /* when the present window of the foreground's latency began */
    uint64_t window_count, window_ns;
    double best, brake;  /* nanoseconds of a sync at best; how much slower than asked for, at least 1 */
    double bytes_from;   /* bytes/s: when counting began */
    uint64_t bytes;
};
struct walk;
double now_s(void);
/* Account for the time since the last call and for what was written; how long to sleep now. */
double pace_debt(struct walk *walk, const struct volume_pace *set, uint64_t bytes);
void pace_restart(struct walk *walk); /* the pace is another one: nothing is owed */
void pace_rested(struct walk *walk); /* slept, or nearly so */

/* ---- progress.c ---- */

/* Between the walk and who looks at it. */
struct board {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct volume_progress progress;
    struct volume_pace pace;
    bool pause, stop, pace_changed;
};
int board_init(struct board *board);
void board_wipe(struct board *board);

/* What the rate was last computed from. */
struct meter {
    double at;
    uint64_t bytes;
};

/* To be called between any two steps, with the bytes that the last one wrote.  CANCELLED when asked to stop. */
int walk_step(struct walk *walk, uint64_t bytes);
void walk_tell(struct walk *walk, bool now);
void walk_count(struct walk *walk, uint64_t *counter, uint64_t add); /* of walk->board->progress */
/* A file that could not be moved, and why. */
void walk_miss(struct walk *walk, const char *path, const struct coffer_error *why, int error);

/* ---- links.c ---- */

struct linked {
    dev_t dev;
    ino_t ino;
    char **paths;
    size_t count;
    struct linked *next;
};
struct links {
    struct linked *buckets[1024];
    size_t count;
};

/* ---- the walk ---- */

struct batch;
struct copies;
struct watch;

struct walk {
    struct volume_fs *fs; /* NULL: nobody uses the volume */
    const struct volume_format *format;
    struct volume *volume;
    struct volume_walk_options options;
    const char *lower; /* for messages */
    int root;
    char tag[9]; /* in the names of its copies */
    unsigned made;
    struct board *board;
    struct pace pace;
    struct batch *batch;
    struct copies *copies;
    struct links links;
    struct meter meter;
    double told;
    struct watch *watch;
    bool again, last_round; /* past the first walk of everything; links are given up in this one */
    uint64_t moved;         /* files found that were not current, in a round */
    uint64_t unsettled;     /* files whose names were not all known */
    uint64_t largest; /* lower bytes, of what is to be copied */
    struct coffer_error *err;
};

/* walk.c */
int walk_possible(const struct volume_format *format, struct coffer_error *err);
int walk_run(struct walk *walk);
int walk_status(struct walk *walk, int rc); /* of what tree_walk() returned */
int walk_flush(struct walk *walk);
void walk_ended(struct walk *walk, int rc);
/* Move what is below, and that itself. */
int walk_tree(struct walk *walk, int folder, const char *name, const char *path);

/* visit.c */
enum file_state { FILE_CURRENT, FILE_OTHER, FILE_GONE, FILE_BAD };
/* What a lower file is under.  BAD: `why` says it. */
enum file_state file_state(const struct walk *walk, int folder, const char *name, struct volume_file_info *info,
                           struct coffer_error *why);
enum file_state lower_state(const struct walk *walk, struct lower *lower, struct volume_file_info *info, struct coffer_error *why);
int visit_count(void *arg, const struct tree_entry *entry);
int visit_move(void *arg, const struct tree_entry *entry);
int visit_trouble(void *arg, const char *path, int error);
int visit_no_trouble(void *arg, const char *path, int error);
int copy_entry(struct walk *walk, const struct tree_entry *entry);
int open_quietly(int folder, const char *name);

/* rewrap.c: what is added is done when the batch is full, and at the end. */
struct inode;
int rewrap_add(struct walk *walk, const struct tree_entry *entry);
int rewrap_flush(struct walk *walk);
void rewrap_free(struct walk *walk);

/* undo.c */
struct undo_entry {
    uint64_t dev, ino;
    struct bytes path, metadata;
};
void undo_begin(struct buf *record);
void undo_add(struct buf *record, const struct undo_entry *entry);
int undo_write(int root, struct buf *record, struct coffer_error *err);
int undo_remove(int root, struct coffer_error *err);
/* Put everything on record back and remove the record. */
int undo_recover(int root, const struct volume_format *format, struct volume *volume, struct coffer_error *err);

/* record.c: a file in the top folder with a checksum at its end */
int kept_write(int root, const char *name, struct buf *content, struct coffer_error *err);
/* NOTFOUND: there is none. */
int kept_read(int root, const char *name, const char *magic, struct buf *content, struct cursor *c, struct coffer_error *err);
int kept_remove(int root, const char *name, struct coffer_error *err);

/* reencrypt.c */
/* A new hidden file in `folder`; its name is of this walk. */
int copy_make(struct walk *walk, int folder, char name[64], int *fd);
bool copy_is_orphan(const struct walk *walk, const char *name);
/* Copy everything of the file open at `from` (closed) into `to` (closed, both always). 0 or a negative errno. */
int copy_file(struct walk *walk, int from, int to, struct coffer_error *why);
int reencrypt_add(struct walk *walk, const struct tree_entry *entry);
int reencrypt_flush(struct walk *walk);
void reencrypt_free(struct walk *walk);
/* LIMIT if no copy of a file with so many lower bytes finds room. */
int room_for(struct walk *walk, const char *path, uint64_t bytes);

/* links.c */
/* 0: all names are known; -EAGAIN: it has others; -ENOENT: it has none left.  Those it has no longer are taken off the list. */
int links_known(struct walk *walk, struct linked *file);
/* Put the record there and follow it. */
int links_record(struct walk *walk, const struct linked *file, const char *copy_path, const struct stat *made, bool *begun,
                 struct coffer_error *err);
char *path_beside(const char *path, const char *name); /* NULL: out of memory */
int links_add(struct walk *walk, const struct tree_entry *entry);
/* Move every file collected; those whose names are not all known remain. */
int links_move(struct walk *walk);
void links_wipe(struct links *links);

/* relink.c: all names of one file to another one, on record.  Folders are opened from `root`. */
struct relink {
    uint64_t old_dev, old_ino, new_dev, new_ino;
    struct bytes copy; /* path of the new file's hidden name */
    struct bytes *names;
    size_t count;
};
int relink_write(int root, const struct relink *relink, struct coffer_error *err);
/* Move the names that are the old file's still, the hidden one last, and remove the record.  When it fails before a name was moved
 * (`*begun` false) the record is removed, too. */
int relink_apply(int root, const struct relink *relink, struct walk *walk, bool *begun, struct coffer_error *err);
int relink_recover(int root, struct coffer_error *err);

/* names.c */
int names_move(struct walk *walk);
bool name_waits(const struct walk *walk, const struct tree_entry *entry); /* it, or its target, is not in the present form */
int visit_name(void *arg, const struct tree_entry *entry);

/* online.c, of a volume in use */
enum file_state online_state(struct walk *walk, const struct tree_entry *entry, struct volume_file_info *info,
                             struct coffer_error *why);
int online_unlink(struct volume_fs *fs, int folder, const char *name); /* one of Coffer's own */
int online_info(struct volume_fs *fs, const struct tree_entry *entry, struct volume_file_info *info, struct coffer_error *why);
int online_prepare(struct walk *walk, const struct tree_entry *entry, struct inode **inode, struct buf *metadata,
                   struct coffer_error *why);
int online_rewrap(struct walk *walk, struct inode *inode, bool *changed, struct coffer_error *why);
int online_sync(struct walk *walk, struct inode *inode);
void online_release(struct walk *walk, struct inode *inode);
int online_copy(struct walk *walk, const struct tree_entry *entry);
int online_links(struct walk *walk, struct linked *file);
int online_catch_up(struct walk *walk, const struct tree *tree); /* walk what moved, until nothing did */
int online_nameless(struct walk *walk);
int online_rest(struct walk *walk);
int online_scan(struct volume_fs *fs, struct tree *tree);

#endif
