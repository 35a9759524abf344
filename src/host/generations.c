/* SPDX-License-Identifier: Apache-2.0 */
#include "host/generations.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOUND_MAX 64

static bool
epoch_of(const char *name, const char *base, uint64_t *epoch)
{
    size_t len = strlen(base);
    char again[32];

    if (strncmp(name, base, len) != 0 || name[len] != '.' || strlen(name + len + 1) > 20)
        return false;
    *epoch = strtoull(name + len + 1, NULL, 10);
    snprintf(again, sizeof again, "%" PRIu64, *epoch);
    return strcmp(again, name + len + 1) == 0;
}

static int
newer_first(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? 1 : *x > *y ? -1 : 0;
}

int
generations_find(const char *path, uint64_t *epochs, size_t max, size_t *count,
                 struct coffer_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    char *folder = slash != NULL ? mem_strndup(path, (size_t)(slash - path) + 1) : mem_strdup(".");
    DIR *dir = folder != NULL ? opendir(folder) : NULL;
    const struct dirent *entry;
    int rc = COFFER_OK;

    *count = 0;
    if (folder == NULL)
        rc = error_nomem(err);
    else if (dir == NULL)
        rc = error_set(err, COFFER_E_IO, "folder %s: %s", folder, strerror(errno));
    while (dir != NULL && *count < max && (entry = readdir(dir)) != NULL) {
        if (epoch_of(entry->d_name, base, &epochs[*count]))
            ++*count;
    }
    if (dir != NULL)
        closedir(dir);
    mem_free(folder);
    qsort(epochs, *count, sizeof *epochs, newer_first);
    return rc;
}

void
generations_prune(const struct os *os, const char *path)
{
    uint64_t epochs[FOUND_MAX];
    size_t count, i;

    if (generations_find(path, epochs, FOUND_MAX, &count, NULL) != COFFER_OK)
        return;
    for (i = GENERATIONS_KEPT; i < count; i++) {
        char *name = mem_format("%s.%" PRIu64, path, epochs[i]);

        if (name != NULL && os->remove_file(os, name, NULL) != COFFER_OK)
            i = count; /* the folder is read-only or worse: the next change tries again */
        mem_free(name);
    }
}

static int
forget_one(const struct os *os, const char *name, const struct keyring *known, uint32_t id,
           struct coffer_error *err)
{
    struct keyring *kr = NULL;
    struct buf file;
    int rc;

    buf_init(&file, KEYRING_FILE_MAX);
    rc = os->read_file(os, name, KEYRING_FILE_MAX, &file, err);
    if (rc == COFFER_OK) {
        /* One that does not open (an older KEK, damage) may hold the material too: it goes. */
        rc = keyring_decode_again(buf_view(&file), known, &kr, NULL);
        if (rc == COFFER_E_NOMEM)
            rc = error_nomem(err);
        else if (rc != COFFER_OK || keyring_material(kr, id) != NULL)
            rc = os->remove_file(os, name, err);
    } else if (rc == COFFER_E_NOTFOUND) {
        rc = COFFER_OK;
    }
    keyring_free(kr);
    buf_wipe(&file);
    return rc;
}

int
generations_forget(const struct os *os, const char *path, const struct keyring *known, uint32_t id,
                   struct coffer_error *err)
{
    uint64_t epochs[FOUND_MAX];
    size_t count, i;
    int rc = generations_find(path, epochs, FOUND_MAX, &count, err);

    for (i = 0; rc == COFFER_OK && i < count; i++) {
        char *name = mem_format("%s.%" PRIu64, path, epochs[i]);

        rc = name == NULL ? error_nomem(err) : forget_one(os, name, known, id, err);
        mem_free(name);
    }
    return rc;
}
