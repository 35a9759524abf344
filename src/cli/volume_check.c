/* SPDX-License-Identifier: Apache-2.0 */
/* coffer volume check: every file, name and link of a folder that nobody serves. */
#include "cli/events.h"
#include "cli/volume.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define LEVELS_MAX 2048
#define SAY_EVERY_MS 300

struct check {
    struct cli *cli;
    const struct volume_setup *setup;
    struct volume *volume;
    bool deep;
    struct buf upper;            /* path of the present entry as the mount shows it */
    size_t ends[LEVELS_MAX + 1]; /* [level]: where in it that of the folder at that level ends */
    const char *lower;           /* and as it lies in the folder */
    uint64_t files, names, links, folders;
    uint64_t found[VOLUME_FOREIGN + 1];
    int64_t said_ms;
    bool bar;
};

static const char *const KINDS[] = {"ok", "suspect", "damaged", "foreign"};

static void
bar_clear(struct check *check)
{
    if (check->bar)
        (void)fputs("\r\033[K", stderr);
    check->bar = false;
}

static void
report(void *arg, enum volume_damage damage, const char *message)
{
    struct check *check = arg;
    char path[1024];

    check->found[damage]++;
    bar_clear(check);
    if (check->cli->json) {
        out_json(json_pack("{s:o,s:o,s:s,s:s}", "path", out_path(buf_cstr(&check->upper)), "lower",
                           out_path(check->lower), "kind", KINDS[damage], "message", message));
        return;
    }
    path_text(buf_cstr(&check->upper), path, sizeof path);
    (void)printf("%-8s %s: %s\n", KINDS[damage], path, message);
    (void)fflush(stdout);
}

static void
tell_progress(struct check *check)
{
    int64_t now = check->cli->os->monotonic_ms(check->cli->os);
    char files[32];

    if (check->cli->json || terminal_width(STDERR_FILENO) == 0 ||
        now - check->said_ms < SAY_EVERY_MS)
        return;
    check->said_ms = now;
    check->bar = true;
    grouped(check->files, files);
    (void)fprintf(stderr, "\r\033[K%s files", files);
    (void)fflush(stderr);
}

/* ---- entries ---- */

/* The name as the mount shows it; a name that it hides stands as it is. */
static void
take_name(struct check *check, const FTSENT *entry)
{
    const char *name = entry->fts_name;
    char upper[VOLUME_NAME_MAX + 1];
    int level = entry->fts_level < LEVELS_MAX ? (int)entry->fts_level : LEVELS_MAX;
    bool shown =
        strlen(name) <= VOLUME_NAME_MAX &&
        check->setup->format->name_to_upper(check->volume, bytes_str(name), upper, NULL) == 0;

    check->upper.len = check->ends[level - 1];
    if (check->upper.len > 0)
        buf_u8(&check->upper, '/');
    buf_str(&check->upper, shown ? upper : name);
    check->ends[level] = check->upper.len;
    check->names++;
    if (!shown)
        report(check, VOLUME_FOREIGN,
               "a name that is not this volume's: the mount does not show it");
}

static void
check_file(struct check *check, const FTSENT *entry)
{
    struct coffer_error err = {0};
    struct lower *lower;
    int fd = open(entry->fts_accpath, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    check->files++;
    if (fd < 0) {
        report(check, VOLUME_DAMAGED, strerror(errno));
        return;
    }
    if (lower_fd_open(fd, &lower, &err) != 0) {
        close(fd);
        report(check, VOLUME_DAMAGED, err.message);
        return;
    }
    (void)check->setup->format->file_check(check->volume, lower, check->deep, report, check);
    lower->ops->close(lower);
}

static void
check_link(struct check *check, const FTSENT *entry)
{
    char target[VOLUME_TARGET_MAX + 1];
    ssize_t len = readlink(entry->fts_accpath, target, sizeof target);
    struct coffer_error err = {0};
    struct buf upper;

    check->links++;
    buf_init(&upper, VOLUME_TARGET_MAX + 1);
    if (len < 0)
        report(check, VOLUME_DAMAGED, strerror(errno));
    else if (check->setup->format->target_to_upper(check->volume, bytes_of(target, (size_t)len),
                                                   &upper, &err) != 0)
        report(check, VOLUME_DAMAGED,
               err.message[0] != '\0' ? err.message : "its target cannot be read");
    buf_wipe(&upper);
}

static void
check_entry(struct check *check, const FTSENT *entry)
{
    take_name(check, entry);
    switch (entry->fts_info) {
    case FTS_F:
        check_file(check, entry);
        break;
    case FTS_D:
        check->folders++;
        break;
    case FTS_SL:
    case FTS_SLNONE:
        check_link(check, entry);
        break;
    case FTS_DNR:
    case FTS_NS:
    case FTS_ERR:
        report(check, VOLUME_DAMAGED, strerror(entry->fts_errno));
        break;
    default: /* pipes, sockets and devices have nothing in them */
        break;
    }
    tell_progress(check);
}

static int
check_all(struct check *check, struct coffer_error *err)
{
    char *const paths[] = {(char *)(uintptr_t)check->setup->lower, NULL};
    size_t top = strlen(check->setup->lower);
    FTSENT *entry;
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_XDEV, NULL);
    int rc = COFFER_OK;

    if (walk == NULL)
        return error_set(err, COFFER_E_IO, "%s: %s", check->setup->lower, strerror(errno));
    while ((entry = fts_read(walk)) != NULL) {
        if (cli_stop) {
            rc = error_set(err, COFFER_E_CANCELLED, "stopped: not everything was looked at");
            break;
        }
        if (entry->fts_level == 0 || entry->fts_info == FTS_DP)
            continue;
        if (strncmp(entry->fts_name, ".coffer", 7) == 0) { /* Coffer's own */
            fts_set(walk, entry, FTS_SKIP);
            continue;
        }
        check->lower = entry->fts_path + top + (entry->fts_path[top] == '/');
        check_entry(check, entry);
    }
    if (entry == NULL && errno != 0)
        rc = error_set(err, COFFER_E_IO, "%s: %s", check->setup->lower, strerror(errno));
    fts_close(walk);
    bar_clear(check);
    return rc;
}

static void
print_end(const struct check *check)
{
    uint64_t bad = check->found[VOLUME_DAMAGED] + check->found[VOLUME_FOREIGN];
    char files[32], folders[32];

    if (check->cli->json) {
        out_json(json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:b}", "files", (json_int_t)check->files,
                           "folders", (json_int_t)check->folders, "links", (json_int_t)check->links,
                           "damaged", (json_int_t)check->found[VOLUME_DAMAGED], "foreign",
                           (json_int_t)check->found[VOLUME_FOREIGN], "suspect",
                           (json_int_t)check->found[VOLUME_SUSPECT], "deep", (int)check->deep));
        return;
    }
    grouped(check->files, files);
    grouped(check->folders, folders);
    (void)printf("%s file%s in %s folder%s below the top: ", files, check->files == 1 ? "" : "s",
                 folders, check->folders == 1 ? "" : "s");
    if (bad == 0)
        (void)printf("no damage%s", check->deep ? "" : " in headers and names (data: --deep)");
    else
        (void)printf("%" PRIu64 " damaged, %" PRIu64 " that are not this volume's",
                     check->found[VOLUME_DAMAGED], check->found[VOLUME_FOREIGN]);
    if (check->found[VOLUME_SUSPECT] > 0)
        (void)printf(", %" PRIu64 " suspect", check->found[VOLUME_SUSPECT]);
    (void)puts(".");
}

static int
run_check(struct cli *cli, struct coffer_error *err)
{
    struct check *check = mem_alloc(sizeof *check);
    struct cli_volume volume;
    int rc;

    if (check == NULL)
        return error_nomem(err);
    rc = cli_volume_open(cli, cli->args->words[0], true, &volume, err);
    if (rc == COFFER_OK) {
        check->cli = cli;
        check->setup = &volume.setup;
        check->volume = volume.volume;
        check->deep = args_flag(cli->args, "deep");
        buf_init(&check->upper, 1 << 20);
        cli_catch_signals();
        rc = check_all(check, err);
        if (rc == COFFER_OK)
            print_end(check);
        cli->exit_code = check->found[VOLUME_DAMAGED] + check->found[VOLUME_FOREIGN] > 0;
        buf_wipe(&check->upper);
        cli_volume_close(&volume);
    }
    mem_free(check);
    return rc;
}

static const struct arg_option options_check[] = {
    {"deep", NULL, "read all data, too: finds holes and what the disk cannot read"},
    {"moved", NULL, "the folder is a copy, or was moved: look at it all the same"},
    {NULL, NULL, NULL}};
const struct command command_volume_check = {
    .name = "volume check",
    .synopsis = "[--deep] LOWER",
    .summary = "look for damage in a volume that is not mounted",
    .details = "Every header, name and link; one line for each finding, exit code 1 if something "
               "is damaged or not the volume's.  "
               "Nothing is changed.  eCryptfs has no checksums: data that was overwritten with "
               "other data is not found.\n\n"
               "  coffer volume check --deep /srv/pg.coffer\n",
    .options = options_check,
    .more_options = options_passphrase,
    .words_min = 1,
    .words_max = 1,
    .run = run_check,
};
