/* SPDX-License-Identifier: Apache-2.0 */
/* The asking side of the control channel. */
#include "base/mem.h"
#include "volume/fuse/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { REPLY_MAX = 16 << 20 };

static int
connect_to(const struct mount_info *info, struct coffer_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, rc = control_path(info->major, info->minor, address.sun_path, sizeof address.sun_path);

    if (rc != 0) {
        (void)error_set(err, COFFER_E_IO, "%s: no control channel: %s", info->mount_point,
                        strerror(-rc));
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    (void)error_set(err, COFFER_E_IO, "%s: the process that serves it cannot be reached at %s: %s",
                    info->mount_point, address.sun_path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* The answer as JSON text; the other side closes when it has said it. */
static int
exchange(int fd, const char *text, struct buf *reply, struct coffer_error *err)
{
    char chunk[4096];
    size_t len = strlen(text);
    ssize_t got;

    while (len > 0) {
        got = send(fd, text, len, MSG_NOSIGNAL);
        if (got <= 0)
            return error_set(err, COFFER_E_IO, "the request was not taken: %s", strerror(errno));
        text += got;
        len -= (size_t)got;
    }
    if (send(fd, "\n", 1, MSG_NOSIGNAL) != 1)
        return error_set(err, COFFER_E_IO, "the request was not taken: %s", strerror(errno));
    while ((got = read(fd, chunk, sizeof chunk)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(err, COFFER_E_IO, "no answer: %s", strerror(errno));
        buf_add(reply, chunk, (size_t)got);
    }
    return buf_status(reply, err);
}

static int
understand(const struct buf *text, json_t **reply, struct coffer_error *err)
{
    json_t *root = json_loadb((const char *)text->ptr, text->len, 0, NULL);
    const char *message;
    int status;

    if (root == NULL)
        return error_set(err, COFFER_E_IO,
                         "no answer: only the user who mounted, and root, get one");
    if (json_is_true(json_object_get(root, "ok"))) {
        *reply = root;
        return COFFER_OK;
    }
    status = (int)json_integer_value(json_object_get(root, "status"));
    message = json_string_value(json_object_get(root, "message"));
    status = error_set(err, status > 0 ? status : COFFER_E_IO, "%s",
                       message != NULL ? message : "refused");
    json_decref(root);
    return status;
}

int
volume_control_call(const char *path, json_t *request, json_t **reply, struct coffer_error *err)
{
    struct mount_info info;
    char *text = NULL;
    struct buf answer;
    int rc, fd = -1;

    *reply = NULL;
    buf_init(&answer, REPLY_MAX);
    rc = mount_info_find(path, true, &info, err);
    if (rc == COFFER_OK) {
        text = json_dumps(request, JSON_COMPACT);
        rc = text == NULL ? error_nomem(err) : COFFER_OK;
    }
    if (rc == COFFER_OK) {
        fd = connect_to(&info, err);
        rc = fd < 0 ? COFFER_E_IO : exchange(fd, text, &answer, err);
    }
    if (rc == COFFER_OK)
        rc = understand(&answer, reply, err);
    if (fd >= 0)
        close(fd);
    free(text);
    buf_wipe(&answer);
    mount_info_wipe(&info);
    return rc;
}
