/* SPDX-License-Identifier: Apache-2.0 */
/* Programs of engines: where they are, which version, and how they are begun. */
#include "deploy/engines/internal.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int
spec_begin(const struct engine_place *place, struct process_spec *out, struct coffer_error *err)
{
    int rc;

    memset(out, 0, sizeof *out);
    out->in = out->out = out->err_fd = -1;
    out->uid = place->uid;
    out->gid = place->gid;
    if (snprintf(out->cwd, sizeof out->cwd, "%s", place->root) >= (int)sizeof out->cwd)
        return error_set(err, COFFER_E_LIMIT, "the path %.200s… is too long for a database",
                         place->root);
    rc = process_env(out, err, "HOME=%s/tmp", place->root);
    if (rc == COFFER_OK)
        rc = process_env(out, err, "TMPDIR=%s/tmp", place->root);
    return rc;
}

int
spec_args(struct process_spec *spec, struct coffer_error *err, ...)
{
    const char *word;
    va_list words;
    int rc = COFFER_OK;

    va_start(words, err);
    while (rc == COFFER_OK && (word = va_arg(words, const char *)) != NULL)
        rc = process_arg(spec, err, "%s", word);
    va_end(words);
    return rc;
}

static bool
program_in(const char *folder, size_t len, const char *program, char out[ENGINE_PATH_MAX])
{
    return len > 0 && folder[0] == '/' &&
           snprintf(out, ENGINE_PATH_MAX, "%.*s/%s", (int)len, folder, program) < ENGINE_PATH_MAX &&
           access(out, X_OK) == 0;
}

int
program_find(const char *program, const char *const *folders, const char *package,
             char out[ENGINE_PATH_MAX], struct coffer_error *err)
{
    const char *path = getenv("PATH");
    size_t i, len;

    for (i = 0; folders != NULL && folders[i] != NULL; i++)
        if (program_in(folders[i], strlen(folders[i]), program, out))
            return COFFER_OK;
    for (; path != NULL && *path != '\0'; path += len + (path[len] == ':')) {
        len = strcspn(path, ":");
        if (program_in(path, len, program, out))
            return COFFER_OK;
    }
    out[0] = '\0';
    return error_set(err, COFFER_E_NOTFOUND,
                     "the program %s is not installed; the Debian package %s has it", program,
                     package);
}

int
program_version(const char *path, struct buf *out, struct coffer_error *err)
{
    struct process_spec spec = {.in = -1, .out = -1, .err_fd = -1};
    int rc = spec_args(&spec, err, path, "--version", NULL);

    if (rc == COFFER_OK)
        rc = process_run(&spec, bytes_of(NULL, 0), out, NULL, NULL, err);
    process_spec_clear(&spec);
    return rc;
}

bool
version_read(const char *text, char version[32], unsigned *major)
{
    size_t len;

    for (; *text != '\0'; text += len > 0 ? len : 1) {
        len = strspn(text, "0123456789.");
        if (len == 0 || len >= 32 || !isdigit((unsigned char)*text) ||
            memchr(text, '.', len) == NULL)
            continue;
        memcpy(version, text, len);
        version[len] = '\0';
        *major = (unsigned)strtoul(version, NULL, 10);
        return true;
    }
    return false;
}
