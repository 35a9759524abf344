/* SPDX-License-Identifier: Apache-2.0 */
/* Files and folders of a place. */
#include "deploy/engines/account.h"
#include "deploy/engines/internal.h"
#include "deploy/engines/tls.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int
place_path(const struct engine_place *place, const char *name, char out[ENGINE_PATH_MAX],
           struct coffer_error *err)
{
    if (snprintf(out, ENGINE_PATH_MAX, "%s/%s", place->root, name) >= ENGINE_PATH_MAX)
        return error_set(err, COFFER_E_LIMIT, "the path %.200s… is too long for a database",
                         place->root);
    return COFFER_OK;
}

static int
folder(const struct engine_place *place, const char *name, struct coffer_error *err)
{
    char path[ENGINE_PATH_MAX];
    struct account before;
    int rc = place_path(place, name, path, err);

    if (rc != COFFER_OK)
        return rc;
    account_enter(place->uid, place->gid, &before);
    rc = place->os->make_folder(place->os, path, 0700, err);
    account_leave(&before);
    return rc;
}

int
place_folders(const struct engine_place *place, struct coffer_error *err)
{
    static const char *const names[] = {"data", "log", "tmp", "conf"};
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < sizeof names / sizeof *names; i++)
        rc = folder(place, names[i], err);
    if (rc == COFFER_OK && place->archive)
        rc = folder(place, "archive", err);
    return rc;
}

int
place_tls(const struct engine_place *place, bool *renewed, struct coffer_error *err)
{
    char path[ENGINE_PATH_MAX];
    int rc = place_path(place, "tls", path, err);

    if (rc == COFFER_OK && place->tls == NULL)
        rc = error_set(err, COFFER_E_MISUSE, "no authority was given for the certificate of %s",
                       place->name);
    return rc != COFFER_OK ? rc
                           : tls_server(place->os, place->tls, path, place->listen, place->uid,
                                        place->gid, renewed, err);
}

int
place_write(const struct engine_place *place, const char *name, struct bytes content,
            struct coffer_error *err)
{
    char path[ENGINE_PATH_MAX];
    struct account before;
    int rc = place_path(place, name, path, err);

    if (rc != COFFER_OK)
        return rc;
    account_enter(place->uid, place->gid, &before);
    rc = place->os->write_file(place->os, path, content, 0600, false, err);
    account_leave(&before);
    return rc;
}

int
place_read(const struct engine_place *place, const char *name, size_t max, struct buf *out,
           struct coffer_error *err)
{
    char path[ENGINE_PATH_MAX];
    struct account before;
    int rc = place_path(place, name, path, err);

    if (rc != COFFER_OK)
        return rc;
    account_enter(place->uid, place->gid, &before);
    rc = place->os->read_file(place->os, path, max, out, err);
    account_leave(&before);
    return rc;
}

int
place_remove(const struct engine_place *place, const char *name, struct coffer_error *err)
{
    char path[ENGINE_PATH_MAX];
    struct account before;
    int rc = place_path(place, name, path, err);

    if (rc != COFFER_OK)
        return rc;
    account_enter(place->uid, place->gid, &before);
    rc = place->os->remove_file(place->os, path, err);
    account_leave(&before);
    return rc;
}

bool
place_has(const struct engine_place *place, const char *name)
{
    char path[ENGINE_PATH_MAX];
    struct account before;
    bool has;

    if (place_path(place, name, path, NULL) != COFFER_OK)
        return false;
    account_enter(place->uid, place->gid, &before);
    has = faccessat(AT_FDCWD, path, F_OK, AT_EACCESS) == 0;
    account_leave(&before);
    return has;
}

/* By rm(1), as the account: it follows no links, and nobody's files but the account's can go. */
static int
empty_data(const struct engine_place *place, struct coffer_error *err)
{
    struct process_spec spec;
    int rc = spec_begin(place, &spec, err);

    if (rc == COFFER_OK)
        rc = spec_args(&spec, err, "/bin/rm", "-rf", "--", NULL);
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "%s/data", place->root);
    if (rc == COFFER_OK)
        rc = process_run(&spec, bytes_of(NULL, 0), NULL, NULL, NULL, err);
    process_spec_clear(&spec);
    return rc;
}

int
place_init_begin(const struct engine_place *place, const char *complete, bool *done,
                 struct coffer_error *err)
{
    int rc = COFFER_OK;

    *done = false;
    if (place_has(place, ".init")) {
        rc = empty_data(place, err);
    } else if (place_has(place, complete)) {
        *done = true;
        return COFFER_OK;
    }
    if (rc == COFFER_OK)
        rc = place_write(place, ".init", bytes_of(NULL, 0), err);
    return rc != COFFER_OK ? rc : place_folders(place, err);
}

int
place_init_end(const struct engine_place *place, struct coffer_error *err)
{
    return place_remove(place, ".init", err);
}
