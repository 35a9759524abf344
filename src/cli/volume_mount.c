/* SPDX-License-Identifier: Apache-2.0 */
/* coffer volume mount: in the background once it serves, or in the foreground.
 *
 * Everything happens in the process that will serve: what is opened before a fork would be locked in memory only in the parent.
 * The parent waits, and says what came of it.
 */
#include "cli/volume.h"

#include "base/mem.h"
#include "ledger/audit.h"
#include "volume/fuse/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define DIRECT_MAX 16

/* ---- log ---- */

struct log {
    int fd; /* -1: syslog */
};

static void
log_line(void *arg, const char *line)
{
    const struct log *log = arg;
    char text[1200], now[32];
    time_t seconds = time(NULL);
    struct tm tm;
    int n;

    if (log->fd < 0) {
        syslog(LOG_DAEMON | LOG_WARNING, "%s", line);
        return;
    }
    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(now, sizeof now, "%Y-%m-%d %H:%M:%SZ", &tm) == 0)
        now[0] = '\0';
    n = snprintf(text, sizeof text, "%s %s\n", now, line);
    if (n > 0) /* one write a line: threads do not mix theirs */
        (void)!write(log->fd, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
}

static int
log_open(const struct cli *cli, struct log *log, struct coffer_error *err)
{
    const char *path = args_text(cli->args, "log");

    log->fd = -1;
    if (path != NULL) {
        log->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
        if (log->fd < 0)
            return error_set(err, COFFER_E_IO, "--log %s: %s", path, strerror(errno));
    } else if (args_flag(cli->args, "foreground")) {
        log->fd = STDERR_FILENO;
    } else {
        openlog("coffer", LOG_PID, LOG_DAEMON);
    }
    return COFFER_OK;
}

/* ---- a volume that was moved ---- */

struct move {
    struct uuid id;
    char name[KEYRING_NAME_MAX];
};

static int
change_move(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct move *move = arg;
    const struct keyring_database *known = keyring_database(kr, &move->id);
    struct keyring_database database;

    if (known == NULL)
        return error_set(err, COFFER_E_NOTFOUND, "this keyring does not know the volume");
    database = *known;
    memcpy(database.name, move->name, sizeof database.name);
    return keyring_database_put(kr, &database, err);
}

/* From now on the keyring knows it here. */
static int
take_place(struct cli *cli, struct cli_volume *volume, struct coffer_error *err)
{
    const struct keyring_database *known = keyring_database(volume->keyring, &volume->setup.id);
    struct move move = {.id = volume->setup.id};
    char id[37], details[96];

    if (strlen(volume->setup.lower) + sizeof "volume:" > sizeof move.name)
        return error_set(err, COFFER_E_LIMIT, "the path %.100s… is too long for the keyring",
                         volume->setup.lower);
    (void)snprintf(move.name, sizeof move.name, "volume:%.180s", volume->setup.lower);
    if (known != NULL && strcmp(known->name, move.name) == 0)
        return COFFER_OK;
    uuid_format(&move.id, id);
    (void)snprintf(details, sizeof details, "{\"volume\":\"%s\"}", id);
    return audit_change(volume->store, cli->os, cli->who, "volume.move", details, change_move,
                        &move, NULL, err);
}

/* ---- mounting ---- */

/* Everything up to the open volume.  The lock is given back for the mount, which takes its own. */
static int
prepare(struct cli *cli, const char *lower, struct cli_volume *volume, struct coffer_error *err)
{
    bool read_only = args_flag(cli->args, "read-only");
    int rc = cli_volume_open(cli, lower, read_only, volume, err);

    if (rc == COFFER_OK && volume->setup.importing)
        rc = error_set(err, COFFER_E_REFUSED,
                       "the import of %s has not ended: some of its files are under a passphrase "
                       "still.  The same coffer volume "
                       "import goes on where it stopped",
                       volume->setup.lower);
    if (rc == COFFER_OK && args_flag(cli->args, "moved") && volume->setup.in_keyring && !read_only)
        rc = take_place(cli, volume, err);
    if (rc != COFFER_OK) {
        cli_volume_close(volume);
        return rc;
    }
    close(volume->lock);
    volume->lock = -1;
    return COFFER_OK;
}

static int
serve(struct cli *cli, struct volume_background *background, struct log *log,
      struct coffer_error *err)
{
    const struct args *args = cli->args;
    const char *direct[DIRECT_MAX];
    struct cli_volume volume = {.lock = -1};
    struct volume_service service = {0};
    struct volume_mount_options options = {
        .lower = args->words[0],
        .mount_point = args->words[1],
        .read_only = args_flag(args, "read-only"),
        .only_me = args_flag(args, "only-me"),
        .non_empty = args_flag(args, "non-empty"),
        .kernel_options = args_text(args, "options"),
        .direct_count = args_all(args, "direct", direct, DIRECT_MAX),
        .background = background,
        .log = log_line,
        .log_arg = log,
        .control = volume_service_control,
        .control_arg = &service,
        .started = volume_service_started,
        .stopping = volume_service_stopping,
        .hooks_arg = &service,
    };
    int rc = prepare(cli, args->words[0], &volume, err);

    if (rc != COFFER_OK) {
        volume_background_report(background, rc, err);
        return rc;
    }
    options.direct = options.direct_count > 0 ? direct : NULL;
    service.store = volume.store;
    service.setup = &volume.setup;
    service.volume = volume.volume;
    rc = volume_mount_run(&options, volume.setup.format, volume.volume, err);
    cli_volume_close(&volume);
    return rc;
}

static void
say_mounted(const struct cli *cli)
{
    if (cli->json)
        out_json(json_pack("{s:b,s:o,s:o}", "mounted", 1, "lower", out_path(cli->args->words[0]),
                           "mount", out_path(cli->args->words[1])));
    else if (!cli->quiet)
        (void)printf("Mounted %s at %s.\n", cli->args->words[0], cli->args->words[1]);
}

static int
run_mount(struct cli *cli, struct coffer_error *err)
{
    bool foreground = args_flag(cli->args, "foreground"), parent = false;
    struct volume_background *background = NULL;
    struct log log;
    int rc = log_open(cli, &log, err);

    if (rc == COFFER_OK && !foreground)
        rc = volume_background_start(&background, &parent, err);
    if (rc != COFFER_OK || parent) {
        if (rc == COFFER_OK && parent)
            say_mounted(cli);
        if (log.fd > STDERR_FILENO)
            close(log.fd);
        return rc;
    }
    rc = serve(cli, background, &log, err);
    volume_background_free(background);
    if (!foreground && rc != COFFER_OK) { /* the parent has said it, or the log has */
        cli->exit_code = exit_code_of(rc);
        rc = COFFER_OK;
    }
    if (log.fd > STDERR_FILENO)
        close(log.fd);
    return rc;
}

static const struct arg_option options_mount[] = {
    {"foreground", NULL, "stay: for systemd, or to see the log"},
    {"log", "FILE", "the log; else syslog, with --foreground standard error"},
    {"read-only", NULL, "nothing is written, below neither"},
    {"only-me", NULL, "no other users, whatever the permissions of files say"},
    {"non-empty", NULL, "the mount point may have content, which is hidden"},
    {"direct", "PATTERN",
     "files that go past the kernel's cache, NAME or FOLDER/NAME; may be given again"},
    {"options", "LIST", "further mount options, as for mount -o: noexec,nodev"},
    {"moved", NULL, "the folder was moved: take it as the volume from now on"},
    {NULL, NULL, NULL}};
const struct command command_volume_mount = {
    .name = "volume mount",
    .synopsis = "[OPTIONS] LOWER MOUNTPOINT",
    .summary = "mount a volume",
    .details =
        "Goes to the background once it serves.  The keyring is read again when a key changes; if "
        "it cannot be read any "
        "more, the mount goes on with the keys that it has.  Files of any cipher of eCryptfs are "
        "read; those made under "
        "AES are written, too.\n\n"
        "  coffer volume mount /srv/pg.coffer /srv/pg\n"
        "  coffer volume mount --passphrase-file pass /home/.secret /mnt\n",
    .options = options_mount,
    .more_options = options_passphrase,
    .words_min = 2,
    .words_max = 2,
    .run = run_mount,
};
