/* SPDX-License-Identifier: Apache-2.0 */
/* An on-disk format of a volume, behind a table of functions: what the filesystem core (fuse/, rotation, check) asks of it.
 *
 * A volume is a lower directory, one lower file for each upper file.  The core knows inodes, handles, locks and requests, and
 * nothing of headers, ciphers and names; a format knows bytes, and nothing of FUSE.  ecryptfs/ is one; another one joins by
 * filling in this table.
 *
 * Status: a filesystem must answer with an errno, so functions here return 0 (or a count) or a negative errno, and say in `err`
 * (NULL allowed) what happened and where.  -EKEYREJECTED: sealed under a key that is not in the set.  -EBADMSG: damaged; the core
 * answers EIO for it and reports it with the path.  -EOPNOTSUPP: the format cannot do it.
 *
 * Threads: a `struct volume` may be used by all.  Calls on one `struct volume_file` are ordered by the core: any number of
 * reads together, everything else alone, except file_sync, which may run beside anything (a sync takes long, and what it owes
 * is only what had returned before).  Different files are independent.
 */
#ifndef COFFER_VOLUME_FORMAT_H
#define COFFER_VOLUME_FORMAT_H

#include "base/bytes.h"
#include "base/secret.h"

#include <sys/types.h>
#include <sys/uio.h>

#define VOLUME_NAME_MAX 255     /* bytes of a lower name, without the final zero */
#define VOLUME_TARGET_MAX 4095  /* bytes of a lower symbolic link's target */
#define VOLUME_KEY_NAME 16      /* hex digits of the longest key name of a format (an eCryptfs signature) */
#define VOLUME_FORMER_CIPHERS 3 /* ciphers that names may be under beside the present one */

/* ---- the lower file ---- */

/* One open lower file, read and written by position.  The core gives one over a descriptor (lower_fd_open()); tests give one that
 * fails, tears or counts.  All return 0 or a count, or a negative errno; a short count happens only at the end of the file. */
struct lower {
    const struct lower_ops *ops;
};
struct lower_ops {
    ssize_t (*read)(struct lower *lower, const struct iovec *iov, int count, uint64_t at);
    /* All or an error.  `dsync`: durable before it returns (RWF_DSYNC). */
    int (*write)(struct lower *lower, const struct iovec *iov, int count, uint64_t at, bool dsync);
    int (*truncate)(struct lower *lower, uint64_t length);
    /* Reserve room, so that a later write into it cannot fail for want of space; the length may grow. */
    int (*reserve)(struct lower *lower, uint64_t at, uint64_t length);
    int (*length)(struct lower *lower, uint64_t *length);
    int (*sync)(struct lower *lower, bool data_only);
    /* An extended attribute; -ENODATA if there is none, -ERANGE if it is longer than `max`. */
    ssize_t (*xattr_get)(struct lower *lower, const char *name, void *value, size_t max);
    int (*xattr_set)(struct lower *lower, const char *name, const void *value, size_t length);
    void (*close)(struct lower *lower);
};

/* A lower file over a descriptor open for reading and writing (reading alone: writes fail with -EBADF).  Takes `fd` over, unless
 * it fails (-ENOMEM); close() closes it. */
int lower_fd_open(int fd, struct lower **out, struct coffer_error *err);

/* Say in `err` (NULL allowed) what happened, under the status that goes with `error`, a negative errno, and return `error`. */
int volume_fail(struct coffer_error *err, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- keys ---- */

/* A volume key as the keyring or a passphrase gave it.  `id` is the keyring's (0: the key is not in a keyring). */
struct volume_key {
    uint32_t id;
    char name[VOLUME_KEY_NAME + 1]; /* as the format writes it into files; filled in by the format's key_set */
    struct secret *secret;          /* format's own derived form, owned */
};

/* ---- the table ---- */

struct volume_options {
    unsigned key_bits;     /* 128, 192 or 256: of files that are made; those that exist say their own */
    bool encrypt_names;    /* names and link targets */
    unsigned name_key_bits; /* of all names of the volume; 0: as key_bits.  Stays when key_bits changes. */
    const char *name_cipher; /* eCryptfs: of names, where it is not AES: "blowfish-448", as in volume_file_info; NULL: AES */
    /* Names and link targets may stand in other forms than the present one, too: plain while encrypt_names, and encrypted while
     * not; under a former cipher ("aes-192"; unused ones are NULL).  Other name keys need no such leave. */
    bool mixed_names;
    const char *former_name_ciphers[VOLUME_FORMER_CIPHERS];
    bool xattr_metadata;   /* eCryptfs: metadata in an extended attribute instead of a header */
    bool plain_passthrough; /* eCryptfs: files without a marker are shown as they are, read only */
    /* The machine, not just the filesystem, stopped while the volume was mounted: growth that nobody synced may have left a
     * size that the lower file does not reach, or blocks never written.  Then the file ends where the lower one does, and such
     * a block is zeros, as on other filesystems after a crash.  Without it both are damage: so file_settle() every file before
     * a crash is forgotten. */
    bool after_crash;
};

struct volume;
struct volume_file;

/* What a file's metadata say, without a key. */
struct volume_file_info {
    uint64_t size;                  /* upper */
    unsigned key_bits;
    char cipher[32];                /* "aes-256" */
    unsigned key_count;             /* how many keys open it */
    char keys[4][VOLUME_KEY_NAME + 1];
    bool empty;                     /* lower length 0: was never finished; shown as an empty file */
};

enum volume_damage { VOLUME_OK, VOLUME_SUSPECT, VOLUME_DAMAGED, VOLUME_FOREIGN };
typedef void (*volume_report_fn)(void *arg, enum volume_damage damage, const char *message);

enum { VOLUME_WRITE_DSYNC = 1 };

struct volume_format {
    const char *name;
    uint32_t block; /* bytes: reads and writes at multiples of it are cheapest */

    /* Derive what this format needs from a passphrase-equivalent (1 to 64 bytes).  Slow (a key derivation): hold no lock. */
    int (*key_set)(struct bytes passphrase, struct bytes salt, struct volume_key *key, struct coffer_error *err);

    /* A volume that writes files under `keys[0]` and names under `name_keys[0]`, and reads under any of each; `name_count` 0:
     * the same keys.  Copies what it needs. */
    int (*open)(const struct volume_options *options, const struct volume_key *keys, size_t count, const struct volume_key *name_keys,
                size_t name_count, struct volume **out, struct coffer_error *err);
    void (*close)(struct volume *volume);
    /* Change keys and options while files are open: what is made from now on, and rewraps, follow the new ones.  All options but
     * xattr_metadata, plain_passthrough and after_crash, which stay as they were at open.  On a mounted volume call names_change()
     * (fuse/names.h), which sees to it that nobody is about to make a name in the form that was.  On failure nothing has changed. */
    int (*change)(struct volume *volume, const struct volume_options *options, const struct volume_key *keys, size_t count,
                  const struct volume_key *name_keys, size_t name_count, struct coffer_error *err);
    const char *const *hidden_xattrs; /* NULL-ended: never shown or set through the upper file */
    size_t (*name_max)(const struct volume *volume); /* bytes of the longest upper name */

    /* Names and link targets, pure.  to_lower: the present form; -EPERM for a name that would be taken for another one, sealed.
     * to_upper: any form; -ENOENT for a lower name that is not this volume's (the core hides it). */
    int (*name_to_lower)(const struct volume *volume, struct bytes upper, char lower[VOLUME_NAME_MAX + 1], struct coffer_error *err);
    int (*name_to_upper)(const struct volume *volume, struct bytes lower, char upper[VOLUME_NAME_MAX + 1], struct coffer_error *err);
    int (*target_to_lower)(const struct volume *volume, struct bytes upper, struct buf *lower, struct coffer_error *err);
    int (*target_to_upper)(const struct volume *volume, struct bytes lower, struct buf *upper, struct coffer_error *err);

    /* The other forms that a name may stand in.  names_mixed: there are any.  name_former: the one of index `i`; -ENOENT beyond the
     * last; another error: the name has none of that kind (it is too long), the next may be there.  What is_current() is asked for and
     * is not this volume's is not current. */
    bool (*names_mixed)(const struct volume *volume);
    int (*name_former)(const struct volume *volume, unsigned i, struct bytes upper, char lower[VOLUME_NAME_MAX + 1],
                       struct coffer_error *err);
    bool (*name_is_current)(const struct volume *volume, struct bytes lower);
    bool (*target_is_current)(const struct volume *volume, struct bytes lower);

    /* Upper size and keys, without a key and without opening: for stat and status.  Reads one lower page at most. */
    int (*file_info)(const struct volume *volume, struct lower *lower, struct volume_file_info *info, struct coffer_error *err);

    /* A file takes the lower file over and closes it.  create: the lower file is empty and gets its metadata at once.
     * On failure the lower file is still the caller's. */
    int (*file_create)(struct volume *volume, struct lower *lower, struct volume_file **out, struct coffer_error *err);
    int (*file_open)(struct volume *volume, struct lower *lower, struct volume_file **out, struct coffer_error *err);
    void (*file_close)(struct volume_file *file);
    struct lower *(*file_lower)(struct volume_file *file);
    uint64_t (*file_size)(const struct volume_file *file);

    /* Read at most `length` bytes at `at`; the count is short only at the end of the file. */
    ssize_t (*file_read)(struct volume_file *file, void *out, size_t length, uint64_t at, struct coffer_error *err);
    /* All or an error; beyond the end, the gap becomes zeros.  When it returns, data and size are in the lower page cache. */
    int (*file_write)(struct volume_file *file, const void *data, size_t length, uint64_t at, unsigned flags, struct coffer_error *err);
    int (*file_truncate)(struct volume_file *file, uint64_t size, struct coffer_error *err);
    /* fallocate(2) with `mode` of <linux/falloc.h>; what the format cannot represent is -EOPNOTSUPP. */
    int (*file_allocate)(struct volume_file *file, int mode, uint64_t at, uint64_t length, struct coffer_error *err);
    int (*file_sync)(struct volume_file *file, bool data_only, struct coffer_error *err);

    /* After a crash, on a volume opened with after_crash: a size that the lower file does not reach is made the one that it
     * holds.  Needs no key; file_open does it too.  `*changed` false: there was nothing to do.  The caller syncs.  NULL: such a format
     * needs none of this.  Blocks are the caller's business: what reads as zeros he writes again where the lower file has holes. */
    int (*file_settle)(const struct volume *volume, struct lower *lower, bool *changed, struct coffer_error *err);

    /* Rotation without data: write the file's metadata anew, wrapped under keys[0] alone.  The bytes that change lie in one
     * 512-byte sector (or one attribute), which a disk writes whole or not at all; the caller has put the old ones on record before.
     * `*changed` false: it was so already.  The caller syncs. */
    int (*file_rewrap)(struct volume *volume, struct lower *lower, bool *changed, struct coffer_error *err);
    /* What file_rewrap() would overwrite, for a record; and the file's metadata as that record has them, all but the size, if it is
     * the same file still (else nothing is changed, and 0 returned).  The caller syncs. */
    int (*file_metadata)(const struct volume *volume, struct lower *lower, struct buf *record, struct coffer_error *err);
    int (*file_put_back)(const struct volume *volume, struct lower *lower, struct bytes record, struct coffer_error *err);
    bool (*file_keys_current)(const struct volume *volume, const struct volume_file_info *info); /* keys[0] alone */
    bool (*file_is_current)(const struct volume *volume, const struct volume_file_info *info); /* keys[0] and key_bits */

    /* Examine a lower file, offline: metadata always, every block with `deep`. Reports one line a finding; the worst is returned. */
    enum volume_damage (*file_check)(const struct volume *volume, struct lower *lower, bool deep, volume_report_fn report, void *arg);
};

extern const struct volume_format volume_ecryptfs;

#endif
