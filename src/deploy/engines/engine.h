/* SPDX-License-Identifier: Apache-2.0 */
/* A database engine, as a table of functions.  They say what to run; deploy/ runs it, streams it, restarts it.
 *
 * Everything an engine writes is inside place->root (on the volume): data, log of changes, temporary files, server log.  Outside are its
 * Unix socket and nothing else.
 */
#ifndef COFFER_DEPLOY_ENGINE_H
#define COFFER_DEPLOY_ENGINE_H

#include "base/os.h"
#include "base/secret.h"
#include "deploy/process.h"

#include <jansson.h>

#define ENGINE_PATH_MAX 1024

struct engine_programs { /* where a version of it is installed */
    char folder[ENGINE_PATH_MAX]; /* of its programs */
    unsigned major;               /* 15, 10, 7, 3 */
    char version[32];             /* "15.20" */
};

struct engine_place { /* one database of it; borrowed strings */
    const struct engine_programs *programs;
    const struct os *os;
    const char *root;     /* the mount: root/data, root/log, root/tmp, root/tls, root/archive (log segments that wait to be archived) */
    const char *tls;      /* folder of the authority that signs its certificate (tls.h), made when missing */
    const char *run;      /* folder of the Unix socket; at most 80 bytes */
    const char *name;     /* of the database inside the server: [a-z][a-z0-9_]{0,62}, "-" of the deployed name become "_" */
    const char *user;     /* its owner in the server: "coffer" */
    const char *password; /* 32 characters of A-Za-z0-9; never in argv or the environment */
    const char *listen;   /* "127.0.0.1", "::1", or "" for the Unix socket alone */
    unsigned port;
    uid_t uid;            /* the account that it runs as; (uid_t)0 with gid 0: as this process, which is then not root */
    gid_t gid;
    uint64_t memory;      /* bytes that it may use for its caches; 0: the engine's default */
    bool archive;         /* keep segments of its log in root/archive until they are taken; only for an engine that has recover() */
};

struct engine_check { /* one line of a doctor's report */
    const char *name;  /* "fsync" */
    const char *state; /* "ok", "warn", "fail" */
    const char *text;  /* what was seen, and what to do */
};
typedef int (*engine_check_fn)(void *arg, const struct engine_check *check, struct coffer_error *err);

struct engine {
    const char *name;    /* "postgresql" */
    const char *title;   /* "PostgreSQL" */
    const char *account; /* that it runs as when cofferd is root: "postgres"; NULL: "nobody" is never used, its own is made: UNSUPPORTED says how */
    unsigned default_port; /* 0: no server (sqlite) */
    int stop_signal;     /* a quick clean stop */

    /* The newest installed version, or `major` if not 0.  NOTFOUND: the message names the package to install. */
    int (*find)(unsigned major, struct engine_programs *out, struct coffer_error *err);
    /* Make the data folder with safe options, credentials, TLS; root exists and belongs to the account.  May be repeated after a crash: begins anew
     * when what is there is not complete. */
    int (*init)(const struct engine_place *place, struct coffer_error *err);
    /* The server, in the foreground; its configuration and certificate are written first.  NULL: the engine has no server. */
    int (*server)(const struct engine_place *place, struct process_spec *out, struct coffer_error *err);
    /* OK when it answers with the credentials; NOTYET while it starts; otherwise what its log says. */
    int (*ready)(const struct engine_place *place, struct coffer_error *err);
    /* After the first start, also of a restored copy: the database, called place->name whatever the copy calls it, its owner with place->password; takes
     * back read_only(). */
    int (*prepare)(const struct engine_place *place, struct coffer_error *err);
    /* A client that is given nothing else connects with this. */
    int (*url)(const struct engine_place *place, char *out, size_t max, struct coffer_error *err);

    /* Logical: a program that writes a dump to stdout / reads one from stdin. */
    int (*dump)(const struct engine_place *place, struct process_spec *out, struct coffer_error *err);
    int (*load)(const struct engine_place *place, struct process_spec *out, struct coffer_error *err);
    /* Physical: a program that writes a consistent copy as a stream to stdout while the server runs; and one that, with the server down and
     * root/data empty, reads it from stdin.  NULL: the engine has none. */
    int (*backup)(const struct engine_place *place, struct process_spec *out, struct coffer_error *err);
    int (*restore)(const struct engine_place *place, struct process_spec *out, struct coffer_error *err);
    /* Between restore and start: recover to `until_us` (INT64_MAX: the end), taking segments from root/recover.  NULL: no point in time. */
    int (*recover)(const struct engine_place *place, int64_t until_us, struct coffer_error *err);
    /* Take no new writes, wait for those under way: for the switch of a rotation; and back.  Outlives a restart of the server.  dump(), backup() and
     * census() work meanwhile; PostgreSQL lets applications not even read. */
    int (*read_only)(const struct engine_place *place, bool on, struct coffer_error *err);
    /* Engine-specific checks beside those of the mount (doctor_mount()). */
    int (*doctor)(const struct engine_place *place, engine_check_fn fn, void *arg, struct coffer_error *err);
    /* Rows of the application's tables and such, to compare two copies: {"tables": {"schema.table": rows}}. */
    int (*census)(const struct engine_place *place, json_t **out, struct coffer_error *err);
};

extern const struct engine *const engines[]; /* NULL at the end */
const struct engine *engine_find(const char *name); /* NULL */

/* What every database needs of a mount, tried on the mount itself in root/.doctor-XXXXXX, removed afterwards: fsync, directory fsync, the syncfs trap
 * (it never reaches a FUSE filesystem), shared mmap, locks (flock, fcntl, OFD), rename over and RENAME_NOREPLACE, O_DIRECT,
 * fallocate, O_APPEND, unlink while open, that the lower file is ciphertext (`lower`: the folder; NULL: not looked at). */
COFFER_MUST_CHECK int doctor_mount(const char *root, const char *lower, engine_check_fn fn, void *arg, struct coffer_error *err);

#endif
