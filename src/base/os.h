/* SPDX-License-Identifier: Apache-2.0 */
/* The seam to the operating system: files, clock, random.  A test passes a table of its own. */
#ifndef COFFER_BASE_OS_H
#define COFFER_BASE_OS_H

#include "base/bytes.h"
#include "base/secret.h"

struct os {
    /* Read a whole file of at most `max` bytes.  NOTFOUND, LIMIT, IO. */
    int (*read_file)(const struct os *os, const char *path, size_t max, struct buf *out, struct coffer_error *err);
    /* Read a whole file of 1 to `max` (at most 3999) bytes straight into secret memory.  NOTFOUND, LIMIT, IO, FORMAT (empty),
     * REFUSED if group or others may read it, or it is neither a regular file nor a pipe. */
    int (*read_secret)(const struct os *os, const char *path, size_t max, struct secret **out, struct coffer_error *err);
    /* Write so that after any crash the path holds the whole old or the whole new content: temporary in the same folder,
     * fsync, rename, fsync of the folder.  `mode` as chmod.  With `exclusive`, EXISTS if the path exists. */
    int (*write_file)(const struct os *os, const char *path, struct bytes data, unsigned mode, bool exclusive,
                      struct coffer_error *err);
    /* Append and fsync; made with `mode` if missing. */
    int (*append_file)(const struct os *os, const char *path, struct bytes data, unsigned mode, struct coffer_error *err);
    int (*remove_file)(const struct os *os, const char *path, struct coffer_error *err); /* missing is OK; fsyncs the folder */
    int (*rename_file)(const struct os *os, const char *from, const char *to, struct coffer_error *err); /* and fsync */
    int (*make_folder)(const struct os *os, const char *path, unsigned mode, struct coffer_error *err);  /* existing is OK */
    /* Identity of a file's content for watching: changes whenever the file was replaced or written. 0 if missing. */
    int (*stamp_file)(const struct os *os, const char *path, uint64_t *stamp, struct coffer_error *err);
    /* Hold an exclusive advisory lock on `path` (made if missing) until unlock.  Waits `wait_ms`; then CONFLICT. */
    int (*lock)(const struct os *os, const char *path, unsigned wait_ms, int *handle, struct coffer_error *err);
    void (*unlock)(const struct os *os, int handle);
    int64_t (*now_us)(const struct os *os);       /* Unix time, microseconds */
    int64_t (*monotonic_ms)(const struct os *os);
    void (*sleep_ms)(const struct os *os, unsigned ms); /* returns early on a signal */
    int (*random)(const struct os *os, void *out, size_t len, struct coffer_error *err); /* from the kernel */
    void *ctx;
};

extern const struct os os_real;

#endif
