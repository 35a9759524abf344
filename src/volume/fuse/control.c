/* SPDX-License-Identifier: Apache-2.0 */
/* The served side of the control channel: one thread, one request at a time. */
#include "volume/fuse/control.h"

#include "base/mem.h"
#include "volume/fuse/internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_MAX = 65536, PATIENCE_MS = 10000 };

struct control {
    struct volume_fs *fs;
    pthread_t thread;
    int socket, stop;
    char path[108];
};

/* A folder of the user's own for sockets: where a session has none, in /tmp, which nobody else may have made before. */
static const char *
runtime_folder(char room[64])
{
    const char *given = getenv("XDG_RUNTIME_DIR");
    struct stat st;

    if (geteuid() == 0)
        return "/run";
    if (given != NULL && given[0] == '/')
        return given;
    (void)snprintf(room, 64, "/run/user/%u", (unsigned)geteuid());
    if (stat(room, &st) == 0 && st.st_uid == geteuid())
        return room;
    (void)snprintf(room, 64, "/tmp/coffer-%u", (unsigned)geteuid());
    if (mkdir(room, 0700) != 0 && errno != EEXIST)
        return NULL;
    return lstat(room, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 022) == 0 ? room : NULL;
}

int
control_path(unsigned major, unsigned minor, char *out, size_t size)
{
    char room[64];
    const char *base = runtime_folder(room);
    int wrote;

    if (base == NULL)
        return -ENOENT;
    wrote = snprintf(out, size, "%s/coffer", base);
    if (wrote < 0 || (size_t)wrote >= size)
        return -ENAMETOOLONG;
    if (mkdir(out, 0755) != 0 && errno != EEXIST)
        return -errno;
    wrote = snprintf(out, size, "%s/coffer/volume-%u-%u.sock", base, major, minor);
    return wrote < 0 || (size_t)wrote >= size ? -ENAMETOOLONG : 0;
}

/* ---- answers ---- */

static int
answer_status(struct volume_fs *fs, json_t *reply)
{
    int bad = 0;

    bad |= json_object_set_new(reply, "lower", json_string_nocheck(fs->options->lower));
    bad |= json_object_set_new(reply, "mount", json_string_nocheck(fs->options->mount_point));
    bad |= json_object_set_new(reply, "read_only", json_boolean(fs->options->read_only));
    bad |= json_object_set_new(reply, "format", json_string(fs->format->name));
    bad |= json_object_set_new(reply, "pid", json_integer(getpid()));
    bad |=
        json_object_set_new(reply, "seconds", json_integer((json_int_t)time(NULL) - fs->started_s));
    bad |= json_object_set_new(reply, "inodes", json_integer((json_int_t)inode_count(fs)));
    bad |= json_object_set_new(reply, "descriptors",
                               json_integer((json_int_t)inode_descriptor_count(fs)));
    bad |= json_object_set_new(reply, "open", json_integer((json_int_t)atomic_load(&fs->opens)));
    bad |= json_object_set_new(reply, "requests",
                               json_integer((json_int_t)atomic_load(&fs->requests)));
    bad |= json_object_set_new(reply, "kinds", requests_by_kind(fs));
    bad |= json_object_set_new(reply, "reads", json_integer((json_int_t)atomic_load(&fs->reads)));
    bad |= json_object_set_new(reply, "writes", json_integer((json_int_t)atomic_load(&fs->writes)));
    bad |= json_object_set_new(reply, "syncs", json_integer((json_int_t)atomic_load(&fs->syncs)));
    bad |= json_object_set_new(reply, "early_syncs",
                               json_integer((json_int_t)atomic_load(&fs->joined)));
    return bad == 0 ? COFFER_OK : COFFER_E_NOMEM;
}

static int
answer_unmount(struct volume_fs *fs, struct coffer_error *err)
{
    int rc = mount_point_detach(fs->options->mount_point, false);

    if (rc == -EBUSY)
        return error_set(err, COFFER_E_CONFLICT, "%s is in use", fs->options->mount_point);
    return rc == 0 ? COFFER_OK
                   : error_set(err, COFFER_E_IO, "%s: cannot unmount: %s", fs->options->mount_point,
                               strerror(-rc));
}

static int
answer(struct volume_fs *fs, const json_t *request, json_t *reply, struct coffer_error *err)
{
    const struct volume_mount_options *options = fs->options;
    const char *command = json_string_value(json_object_get(request, "command"));
    int rc = COFFER_OK;

    if (command == NULL)
        return error_set(err, COFFER_E_FORMAT, "a request is {\"command\": NAME, …}");
    if (strcmp(command, "unmount") == 0)
        return answer_unmount(fs, err);
    if (strcmp(command, "status") == 0) {
        rc = answer_status(fs, reply);
        if (rc != COFFER_OK || options->control == NULL)
            return rc;
    }
    if (options->control == NULL)
        return error_set(err, COFFER_E_UNSUPPORTED, "no such command: %s", command);
    return options->control(options->control_arg, fs, command, request, reply, err);
}

/* ---- the socket ---- */

static bool
may_ask(int client)
{
    struct ucred who;
    socklen_t len = sizeof who;

    return getsockopt(client, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 &&
           (who.uid == 0 || who.uid == geteuid());
}

/* One line; its length without the newline, 0 if there is none in time. */
static size_t
read_line(int client, char *line)
{
    struct timeval patience = {PATIENCE_MS / 1000, 0};
    size_t have = 0;
    ssize_t got;
    char *end;

    (void)setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    while (have < REQUEST_MAX) {
        got = read(client, line + have, REQUEST_MAX - have);
        if (got <= 0)
            return 0;
        end = memchr(line + have, '\n', (size_t)got);
        have += (size_t)got;
        if (end != NULL)
            return (size_t)(end - line);
    }
    return 0;
}

static void
write_all(int client, const char *text, size_t len)
{
    ssize_t put;

    while (len > 0) {
        put = send(client, text, len, MSG_NOSIGNAL);
        if (put <= 0)
            return;
        text += put;
        len -= (size_t)put;
    }
}

static void
converse(struct volume_fs *fs, int client, char *line)
{
    struct coffer_error err = {0};
    json_t *request = NULL, *reply = json_object();
    size_t len = read_line(client, line);
    char *text;
    int rc;

    if (len > 0 && reply != NULL) {
        request = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
        rc = request == NULL ? error_set(&err, COFFER_E_FORMAT, "the request is not JSON")
                             : answer(fs, request, reply, &err);
        (void)json_object_set_new(reply, "ok", json_boolean(rc == COFFER_OK));
        if (rc != COFFER_OK) {
            (void)json_object_set_new(reply, "status", json_integer(rc));
            (void)json_object_set_new(reply, "message", json_string_nocheck(err.message));
        }
        text = json_dumps(reply, JSON_COMPACT);
        if (text != NULL) {
            write_all(client, text, strlen(text));
            write_all(client, "\n", 1);
        }
        free(text);
    }
    json_decref(request);
    json_decref(reply);
}

static void *
listen_on(void *arg)
{
    struct control *control = arg;
    struct pollfd fds[2] = {{.fd = control->socket, .events = POLLIN},
                            {.fd = control->stop, .events = POLLIN}};
    char *line = mem_alloc(REQUEST_MAX);
    int client;

    while (line != NULL) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents != 0)
            break;
        if ((fds[0].revents & POLLIN) == 0)
            continue;
        client = accept4(control->socket, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0)
            continue;
        if (may_ask(client))
            converse(control->fs, client, line);
        close(client);
    }
    mem_free(line);
    return NULL;
}

static int
bind_path(struct control *control)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    mode_t before;
    int rc = 0;

    control->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    control->stop = eventfd(0, EFD_CLOEXEC);
    if (control->socket < 0 || control->stop < 0)
        return -errno;
    memcpy(address.sun_path, control->path, sizeof address.sun_path);
    (void)unlink(control->path); /* of a mount that had the number before us and is gone */
    before = umask(0177);
    if (bind(control->socket, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(control->socket, 8) != 0)
        rc = -errno;
    (void)umask(before);
    return rc;
}

int
control_open(struct volume_fs *fs, struct control **out, struct coffer_error *err)
{
    struct control *control = mem_alloc(sizeof *control);
    struct stat st;
    int rc;

    *out = NULL;
    if (control == NULL)
        return error_nomem(err);
    control->fs = fs;
    control->socket = control->stop = -1;
    rc = stat(fs->options->mount_point, &st) != 0 ? -errno : 0;
    if (rc == 0)
        rc = control_path(major(st.st_dev), minor(st.st_dev), control->path, sizeof control->path);
    if (rc == 0)
        rc = bind_path(control);
    if (rc == 0)
        rc = -pthread_create(&control->thread, NULL, listen_on, control);
    if (rc != 0) {
        if (control->socket >= 0)
            close(control->socket);
        if (control->stop >= 0)
            close(control->stop);
        mem_free(control);
        return error_set(err, COFFER_E_IO, "%s%s", strerror(-rc),
                         rc == -ENOENT && geteuid() != 0
                             ? ": set XDG_RUNTIME_DIR to a folder of your own"
                             : "");
    }
    *out = control;
    return COFFER_OK;
}

void
control_close(struct control *control)
{
    if (control == NULL)
        return;
    (void)!write(control->stop, &(uint64_t){1}, sizeof(uint64_t));
    pthread_join(control->thread, NULL);
    (void)unlink(control->path);
    close(control->socket);
    close(control->stop);
    mem_free(control);
}
