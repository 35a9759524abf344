/* SPDX-License-Identifier: Apache-2.0 */
/* Moving the files of a volume to the keys and the form that it writes now: keys[0], key_bits, names[0], encrypt_names.
 *
 * A walk visits every lower file and asks the format whether it is current; what is not is moved:
 *
 *   rewrap      the header alone, in place.  The old sectors of a batch are on record (VOLUME_UNDO), synced, before the first is
 *               overwritten; then one sync for the batch.
 *   reencrypt   into a hidden file VOLUME_COPY… in the same folder, then sync, rename over, sync of the folder; all names of a file
 *               with several are moved under a record (VOLUME_LINKS) that is finished after a crash.
 *   names       renamed within their folder; symbolic links made anew and renamed over.
 *
 * So it needs no list of what is done: whoever walks again goes on where the last one stopped.  Works on a volume that is
 * mounted (through fuse/mirror.h, while it is used) and on one that is not.  Knows nothing of keyrings: volume/lifecycle.h does.
 *
 * What a damaged or foreign file hinders is counted and reported with its path, and the walk goes on.
 */
#ifndef COFFER_VOLUME_ROTATE_WALK_H
#define COFFER_VOLUME_ROTATE_WALK_H

#include "volume/format.h"

#define VOLUME_COPY ".coffer.copy."   /* prefix; orphans are removed by the next walk */
#define VOLUME_UNDO ".coffer.undo"    /* in the top folder */
#define VOLUME_LINKS ".coffer.links"  /* in the top folder */

struct volume_fs;

enum volume_work { VOLUME_REWRAP = 1, VOLUME_REENCRYPT };

struct volume_pace {
    double bytes_per_second; /* 0: no fixed limit */
    double duty;             /* share of time that may be spent working, 0 < duty ≤ 1; 0: 0.25 online, 1 offline */
    double latency_ratio;    /* online: slows down when requests that sync take this many times their best; 0: 1.5 */
};

struct volume_progress {
    uint64_t files, files_done, files_skipped; /* skipped: were current already */
    uint64_t bytes, bytes_done;                /* upper bytes of what is to be copied; headers with rewrap */
    uint64_t names, names_done;
    uint64_t failed;                           /* files that could not be moved */
    char failure[512];                         /* the first of them: path and why */
    double rate, seconds_left;                 /* bytes/s lately; 0 unknown */
    bool counting, paused, ended;              /* counting: the totals still grow */
    int status;                                /* COFFER_OK or why it ended */
    struct coffer_error error;
};

struct volume_walk_options {
    enum volume_work work;
    bool names;               /* bring names to their form, too */
    struct volume_pace pace;
    bool (*stop)(void *arg);  /* asked between any two steps; NULL: never */
    void (*progress)(void *arg, const struct volume_progress *progress); /* about four times a second */
    void (*damage)(void *arg, const char *path, const char *message);
    void *arg;
};

/* ---- offline: the caller holds the lower folder's lock (volume_lower_lock()) ---- */

/* COFFER_OK   everything is current (progress->failed may be > 0: those are not)
 * CANCELLED   stopped
 * LIMIT       a file is larger than the free space; the message gives the bytes that would do
 * IO, NOMEM   as the message says; nothing is lost, walk again */
COFFER_MUST_CHECK int volume_walk(const char *lower, const struct volume_format *format, struct volume *volume,
                                  const struct volume_walk_options *options, struct volume_progress *progress, struct coffer_error *err);

/* ---- online: a thread beside the requests of a mounted volume ---- */

struct volume_walker;
/* Start walking; one walker a mount (CONFLICT).  `options` is copied. */
COFFER_MUST_CHECK int volume_walker_start(struct volume_fs *fs, const struct volume_walk_options *options, struct volume_walker **out,
                                          struct coffer_error *err);
void volume_walker_pause(struct volume_walker *walker, bool pause);
void volume_walker_pace(struct volume_walker *walker, const struct volume_pace *pace);
void volume_walker_progress(struct volume_walker *walker, struct volume_progress *out);
/* Stops at the next step and waits for that; frees.  Accepts NULL. */
void volume_walker_stop(struct volume_walker *walker);

/* ---- after a crash, before anything is served: undo and links on record, orphans stay for the walk ---- */

COFFER_MUST_CHECK int volume_recover(const char *lower, const struct volume_format *format, struct volume *volume,
                                     struct coffer_error *err);

/* ---- proof: what every file, hidden file and name below `lower` is under ---- */

struct volume_count {
    uint64_t files, empty, bytes;    /* regular files with a header; without one; upper bytes */
    uint64_t names, links, folders;  /* entries with encrypted names; symbolic links; folders */
    uint64_t damaged, plain;         /* files whose header does not parse; without a marker */
    struct {
        char key[VOLUME_KEY_NAME + 1];
        uint64_t files, bytes, names; /* names: entries and link targets */
    } keys[16];
    size_t key_count;
    uint64_t other_keys;             /* units under keys that found no room above */
};
/* Reads metadata alone.  `find` (NULL allowed) hears of each unit under `key` (a name of keys[].key; NULL: of damage only).  On a mounted volume
 * (`fs` not NULL) folders that were moved meanwhile are looked through again, so that nothing slips through. */
COFFER_MUST_CHECK int volume_scan(const char *lower, struct volume_fs *fs, const struct volume_format *format, struct volume *volume,
                                  const char *key, void (*find)(void *arg, const char *path, const char *what), void *arg,
                                  struct volume_count *out, struct coffer_error *err);

/* ---- the lower folder's lock, which a mount holds too ---- */

/* CONFLICT: mounted, or another command works on it.  -1 is stored in *fd on failure; close(2) gives it back. */
COFFER_MUST_CHECK int volume_lower_lock(const char *lower, int *fd, struct coffer_error *err);

#endif
