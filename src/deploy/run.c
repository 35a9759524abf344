/* SPDX-License-Identifier: Apache-2.0 */
/* Mounts and servers of one generation: up, down, each step looking at what is already so. */
#include "deploy/internal.h"

#include "base/error.h"
#include "volume/fuse/control.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define POLL_MS 20
#define START_WAIT_MS                                                                              \
    600000 /* of a server that recovers, or a volume that is settled after a crash of the machine */
#define STOP_WAIT_MS 60000
#define UNMOUNT_WAIT_MS 60000

/* ---- mounts ---- */

/* Another filesystem than the folder around it: something is mounted there, alive. */
static bool
is_mount(const char *mount)
{
    char above[DEPLOY_PATH_MAX + 8];
    struct stat here, there;

    (void)snprintf(above, sizeof above, "%s/..", mount);
    if (stat(mount, &here) != 0)
        return false;
    *strrchr(above, '/') = '\0';
    *strrchr(above, '/') = '\0';
    return stat(above, &there) == 0 && here.st_dev != there.st_dev;
}

bool
run_mounted(const struct database_place *place)
{
    struct process_id id;

    return process_find(place->mount_pid, &id, NULL) == COFFER_OK && is_mount(place->mount);
}

/* What a dead process left at the mount point, or one that does not want to go. */
static void
detach(const struct database_place *place)
{
    struct process_spec spec = {0};
    struct stat st;

    for (int i = 0; i < 8; i++) { /* one over the other, if it went wrong before */
        if (stat(place->mount, &st) == 0 ? !is_mount(place->mount)
                                         : errno != ENOTCONN && errno != EIO)
            return;
        if (umount2(place->mount, MNT_DETACH) == 0)
            continue;
        process_spec_clear(&spec);
        if (process_arg(&spec, NULL, "/usr/bin/fusermount3") == COFFER_OK &&
            process_arg(&spec, NULL, "-uz") == COFFER_OK &&
            process_arg(&spec, NULL, "%s", place->mount) == COFFER_OK)
            (void)!process_run(&spec, bytes_of(NULL, 0), NULL, NULL, NULL, NULL);
        process_spec_clear(&spec);
    }
}

static int
log_words(const char *path, const struct os *os, const char *what, struct coffer_error *err)
{
    struct buf text;
    const char *words;
    int rc;

    buf_init(&text, 1u << 20);
    rc = os->read_file(os, path, 1u << 20, &text, NULL);
    while (text.len > 0 && text.ptr[text.len - 1] <= ' ')
        text.len--;
    words = buf_cstr(&text);
    if (rc == COFFER_OK && text.len > 300)
        words += text.len - 300;
    rc = error_set(err, COFFER_E_IO, "%s%s%s", what, text.len > 0 ? ": " : "", words);
    buf_wipe(&text);
    return rc;
}

static int
wait_mounted(struct deploy *deploy, const struct database_place *place, const struct process_id *id,
             struct coffer_error *err)
{
    int64_t until = deploy->os->monotonic_ms(deploy->os) + START_WAIT_MS;

    for (;;) {
        if (is_mount(place->mount)) {
            json_t *request = json_object(), *reply = NULL;
            int rc;

            (void)json_object_set_new(request, "command", json_string("status"));
            rc = volume_control_call(place->mount, request, &reply, NULL);
            json_decref(reply);
            if (rc == COFFER_OK)
                return COFFER_OK;
        }
        if (!process_alive(id))
            return log_words(place->mount_log, deploy->os, "the volume could not be mounted", err);
        if (atomic_load(&deploy->closing))
            return error_set(err, COFFER_E_CANCELLED, "stopped while the volume was being mounted");
        if (deploy->os->monotonic_ms(deploy->os) > until)
            return error_set(err, COFFER_E_IO,
                             "the volume was not mounted within ten minutes; see %s",
                             place->mount_log);
        deploy->os->sleep_ms(deploy->os, POLL_MS);
    }
}

/* The top folder belongs to the account that the engine runs as. */
static int
give_to_account(const struct database_place *place, struct coffer_error *err)
{
    struct stat st;

    if (stat(place->mount, &st) != 0)
        return error_set(err, COFFER_E_IO, "%s: %s", place->mount, strerror(errno));
    if (place->place.uid != 0 && st.st_uid != place->place.uid &&
        chown(place->mount, place->place.uid, place->place.gid) != 0)
        return error_set(err, COFFER_E_IO, "%s: %s", place->mount, strerror(errno));
    if ((st.st_mode & 0777) != 0700 && chmod(place->mount, 0700) != 0)
        return error_set(err, COFFER_E_IO, "%s: %s", place->mount, strerror(errno));
    return COFFER_OK;
}

int
run_mount(struct deploy *deploy, const struct database_place *place, struct coffer_error *err)
{
    const char *words[] = {"volume",    "mount",        "--keyring",  deploy->keyring_path, "--kek",
                           deploy->kek, "--foreground", place->lower, place->mount};
    struct process_spec spec = {0};
    struct process_id id;
    int rc;

    if (run_mounted(place))
        return give_to_account(place, err);
    if (process_find(place->mount_pid, &id, NULL) == COFFER_OK) {
        rc = process_stop(&id, SIGTERM, UNMOUNT_WAIT_MS, err);
        if (rc != COFFER_OK)
            return rc;
    }
    detach(place);
    process_spec_clear(&spec);
    rc = process_arg(&spec, err, "%s", deploy->program);
    for (size_t i = 0; rc == COFFER_OK && i < sizeof words / sizeof *words; i++)
        rc = process_arg(&spec, err, "%s", words[i]);
    if (rc == COFFER_OK &&
        !deploy
             ->root) /* the server is the same user's; others would need leave in /etc/fuse.conf */
        rc = process_arg(&spec, err, "--only-me");
    if (rc == COFFER_OK && !deploy->root)
        rc = process_env(&spec, err, "XDG_RUNTIME_DIR=%s/run", deploy->dir);
    (void)unlink(place->mount_log); /* of this start alone, so that it says why */
    if (rc == COFFER_OK)
        rc = process_start(&spec, place->mount_log, place->mount_pid, &id, err);
    process_spec_clear(&spec);
    if (rc == COFFER_OK)
        rc = wait_mounted(deploy, place, &id, err);
    return rc == COFFER_OK ? give_to_account(place, err) : rc;
}

int
run_unmount(struct deploy *deploy, const struct database_place *place, struct coffer_error *err)
{
    struct process_id id;
    int rc = COFFER_OK;

    (void)deploy;
    if (process_find(place->mount_pid, &id, NULL) == COFFER_OK)
        rc = process_stop(&id, SIGTERM, UNMOUNT_WAIT_MS, err);
    detach(place);
    return rc;
}

/* ---- servers ---- */

bool
run_serving(const struct database_place *place)
{
    struct process_id id;

    return place->engine->server == NULL || process_find(place->server_pid, &id, NULL) == COFFER_OK;
}

int
run_port_free(const char *listen_at, unsigned port, struct coffer_error *err)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    bool is_six = strchr(listen_at, ':') != NULL;
    int fd, one = 1, failed;

    if (listen_at[0] == '\0' || port == 0)
        return COFFER_OK;
    if (inet_pton(is_six ? AF_INET6 : AF_INET, listen_at,
                  is_six ? (void *)&six.sin6_addr : (void *)&four.sin_addr) != 1)
        return error_set(err, COFFER_E_FORMAT,
                         "\"%.60s\" is no address to listen on: 127.0.0.1, ::1, an address of this "
                         "machine, or nothing "
                         "for its Unix socket alone",
                         listen_at);
    fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, COFFER_E_IO, "cannot make a socket: %s", strerror(errno));
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    failed = is_six ? bind(fd, (struct sockaddr *)&six, sizeof six)
                    : bind(fd, (struct sockaddr *)&four, sizeof four);
    failed = failed != 0 ? errno : listen(fd, 1) != 0 ? errno : 0;
    close(fd);
    if (failed == 0)
        return COFFER_OK;
    if (failed == EADDRINUSE)
        return error_set(err, COFFER_E_CONFLICT, "port %u of %s is taken by another program", port,
                         listen_at);
    return error_set(err, COFFER_E_REFUSED, "cannot listen on %s port %u: %s", listen_at, port,
                     strerror(failed));
}

static int
wait_ready(struct deploy *deploy, const struct database_place *place, const struct process_id *id,
           struct coffer_error *err)
{
    int64_t until = deploy->os->monotonic_ms(deploy->os) + START_WAIT_MS;
    struct coffer_error why = {0};

    for (;;) {
        int rc = place->engine->ready(&place->place, &why);

        if (rc == COFFER_OK)
            return rc;
        if (!process_alive(id))
            return log_words(place->server_log, deploy->os, "the server ended", err);
        if (rc != COFFER_E_NOTYET)
            return error_set(err, rc, "%s", why.message);
        if (atomic_load(&deploy->closing))
            return error_set(err, COFFER_E_CANCELLED, "stopped while the server was starting");
        if (deploy->os->monotonic_ms(deploy->os) > until)
            return error_set(err, COFFER_E_IO, "the server did not answer within ten minutes: %s",
                             why.message);
        deploy->os->sleep_ms(deploy->os, POLL_MS);
    }
}

/* Another minor version may have been installed meanwhile. */
static int
find_programs(struct deploy *deploy, struct database_place *place, struct coffer_error *err)
{
    struct engine_programs now;
    int rc = place->engine->find(place->database.major, &now, err);

    if (rc != COFFER_OK || (strcmp(now.version, place->programs.version) == 0 &&
                            strcmp(now.folder, place->programs.folder) == 0))
        return rc;
    place->programs = now;
    return state_run(deploy, err, "UPDATE databases SET version = ?, programs = ? WHERE id = ?",
                     "sss", now.version, now.folder, place->database.id);
}

static int
run_folder(const struct database_place *place, struct coffer_error *err)
{
    if (mkdir(place->run, 0711) != 0 && errno != EEXIST)
        return error_set(err, COFFER_E_IO, "%s: %s", place->run, strerror(errno));
    if (chmod(place->run, 0711) != 0 ||
        (place->place.uid != 0 && chown(place->run, place->place.uid, place->place.gid) != 0))
        return error_set(err, COFFER_E_IO, "%s: %s", place->run, strerror(errno));
    return COFFER_OK;
}

int
run_server(struct deploy *deploy, const struct database_place *given, struct coffer_error *err)
{
    struct database_place place = *given;
    struct process_spec spec = {0};
    struct process_id id;
    int rc;

    if (place.engine->server == NULL)
        return COFFER_OK;
    place.place.programs = &place.programs;
    if (process_find(place.server_pid, &id, NULL) == COFFER_OK) {
        rc = wait_ready(deploy, &place, &id, err);
        database_place_wipe(&place);
        return rc;
    }
    process_spec_clear(&spec);
    rc = find_programs(deploy, &place, err);
    if (rc == COFFER_OK)
        rc = run_folder(&place, err);
    if (rc == COFFER_OK)
        rc = run_port_free(place.place.listen, place.place.port, err);
    if (rc == COFFER_OK)
        rc = place.engine->server(&place.place, &spec, err);
    if (rc == COFFER_OK)
        rc = process_start(&spec, place.server_log, place.server_pid, &id, err);
    process_spec_clear(&spec);
    if (rc == COFFER_OK)
        rc = wait_ready(deploy, &place, &id, err);
    database_place_wipe(&place);
    return rc;
}

int
run_stop_server(struct deploy *deploy, const struct database_place *place, struct coffer_error *err)
{
    struct process_id id;

    (void)deploy;
    if (place->engine->server == NULL || process_find(place->server_pid, &id, NULL) != COFFER_OK)
        return COFFER_OK;
    return process_stop(&id, place->engine->stop_signal, STOP_WAIT_MS, err);
}

/* ---- a database ---- */

int
run_up(struct deploy *deploy, const char *id, struct coffer_error *err)
{
    struct database_place place;
    struct process_id server;
    int rc = database_place(deploy, id, 0, &place, err);

    if (rc != COFFER_OK)
        return rc;
    if (!run_mounted(&place)) {
        rc = database_put_state(deploy, id, "starting", NULL, err);
        /* A server over a volume that is gone can only fail; it holds what is left of the mount. */
        if (rc == COFFER_OK && process_find(place.server_pid, &server, NULL) == COFFER_OK)
            rc = process_stop(&server, SIGKILL, 1000, err);
    } else if (!run_serving(&place)) {
        rc = database_put_state(deploy, id, "starting", NULL, err);
    }
    if (rc == COFFER_OK)
        rc = run_mount(deploy, &place, err);
    if (rc == COFFER_OK)
        rc = run_server(deploy, &place, err);
    database_place_wipe(&place);
    return rc == COFFER_OK ? database_put_state(deploy, id, "running", "", err) : rc;
}

int
run_down(struct deploy *deploy, const char *id, struct coffer_error *err)
{
    struct database_place place;
    int rc = database_place(deploy, id, 0, &place, err);

    if (rc != COFFER_OK)
        return rc;
    rc = database_put_state(deploy, id, "stopping", NULL, err);
    if (rc == COFFER_OK)
        rc = run_stop_server(deploy, &place, err);
    if (rc == COFFER_OK)
        rc = run_unmount(deploy, &place, err);
    database_place_wipe(&place);
    return rc == COFFER_OK ? database_put_state(deploy, id, "stopped", "", err) : rc;
}
