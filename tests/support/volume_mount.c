/* SPDX-License-Identifier: Apache-2.0 */
/* Mounts a volume for tests:
 *
 *   volume_mount [OPTIONS] LOWER MNT      in the background, or with --foreground
 *   volume_mount --unmount MNT
 *   volume_mount --call MNT JSON          one request on the control channel; prints the answer
 *   volume_mount --crashed LOWER          prints 1 if the machine stopped while it was mounted, else 0
 *   volume_mount [OPTIONS] --forward LOWER   brings every name to its present form, offline; answers as "forward" does
 *
 * --format NAME          plain, or ecryptfs
 * --key K                key byte of the plain format, passphrase of eCryptfs (90)
 * --old K                another one that opens files; --next if not given
 * --next K               the one that "copy" moves files to (51)
 * --bits N --encrypt-names --xattr-metadata --after-crash --name-bits N --mixed-names   as in struct volume_options
 *                        (--after-crash is on by itself where the machine stopped while it was mounted)
 * --former CIPHER        of former_name_ciphers
 * --name-key K           keys of names, the first one seals; the first of files if none is given
 * --settle-stop N        SIGKILL in the N-th file that is settled after a crash
 * --settle-fail N        EIO there
 * --utilities-names      eCryptfs: names under the key that ecryptfs-utils make of the passphrase for them, not under that of files
 * --log FILE             where its lines go
 * --descriptors N --threads N --only-me --read-only --options LIST --direct PATTERN
 *
 * The control channel takes {"command":"copy","name":LOWER NAME,"step":BYTES,"finish":BOOL,"replace":BOOL} here: it moves a file of the
 * lower folder to the key of --next through a mirror, `step` bytes at a time; without "finish" it stops after one step.
 * {"command":"rotate",…} starts a rotation to any key (volume_rotation.h), and
 * {"command":"names","keys":[K…],"encrypt":BOOL,"mixed":BOOL,"bits":N,"former":[CIPHER…]} changes the form of names, and
 * {"command":"forward"} brings every name to it; answers {"moved","current","failed":{ERRNO:COUNT}}.
 * For eCryptfs, too: {"command":"change","names":BOOL}: from now on --next writes; "keys": only says their names; "walk" {"work":"rewrap"|"reencrypt",
 * "names":BOOL,"pace":{…}}, "progress", "pause", "resume", "throttle" {"pace":{…}}, "stop-walk", "scan" {"key":KEY NAME}.
 */
#include "base/mem.h"
#include "support/plain_format.h"
#include "support/volume_forward.h"
#include "support/volume_rotation.h"
#include "support/volume_walk_control.h"
#include "volume/ecryptfs/ecryptfs.h"
#include "volume/fuse/mirror.h"
#include "volume/fuse/mount.h"
#include "volume/fuse/names.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPORARY ".coffer.copy"

static int log_fd = 2;
static int lower_fd = -1;
static struct volume *next;
static const char *walked_lower;

static void
log_line(void *arg, const char *line)
{
    dprintf(log_fd, "%s\n", line);
}

/* ---- copying to another key, by the control channel ---- */

static int
replace(void *arg, struct inode *inode)
{
    const char *name = arg;
    struct stat st;

    if (fstatat(lower_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT && unlinkat(lower_fd, TEMPORARY, 0) == 0 ? 0 : -EAGAIN;
    if (st.st_dev != inode->dev || st.st_ino != inode->ino)
        return -EAGAIN;
    return renameat(lower_fd, TEMPORARY, lower_fd, name) != 0 ? -errno : 0;
}

static int
settle(void *arg, struct inode *inode)
{
    return fsync(lower_fd) != 0 ? -errno : 0;
}

static struct inode *copying; /* between a request without "finish" and the next */

static int
copy(struct volume_fs *fs, const json_t *request, json_t *reply, struct coffer_error *err)
{
    const char *name = json_string_value(json_object_get(request, "name"));
    size_t step = (size_t)json_integer_value(json_object_get(request, "step"));
    struct mirror_end end = {replace, settle, (void *)(uintptr_t)name};
    struct mirror_status status = {0};
    int rc = 0, fd;

    if (copying == NULL) {
        rc = inode_acquire(fs, lower_fd, name, &copying);
        if (rc == 0) {
            fd = openat(lower_fd, TEMPORARY, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
            rc = mirror_begin(fs, copying, fd, next, err);
        }
    }
    if (rc == 0)
        rc = mirror_step(fs, copying, step, &status, err);
    while (rc == 0 && json_is_true(json_object_get(request, "finish")) && status.done < status.size)
        rc = mirror_step(fs, copying, step, &status, err);
    if (rc == 0 && json_is_true(json_object_get(request, "finish")))
        rc = mirror_finish(fs, copying, &end, err);
    (void)json_object_set_new(reply, "done", json_integer((json_int_t)status.done));
    (void)json_object_set_new(reply, "size", json_integer((json_int_t)status.size));
    if (copying != NULL && (rc != 0 || json_is_true(json_object_get(request, "finish")))) {
        if (rc != 0) {
            mirror_cancel(fs, copying);
            (void)unlinkat(lower_fd, TEMPORARY, 0);
        }
        inode_release(fs, copying, 1);
        copying = NULL;
    }
    return rc == 0 ? COFFER_OK : error_set(err, COFFER_E_IO, "%s: %s", name, strerror(-rc));
}

/* ---- the form of names ---- */

enum { NAME_KEYS = 4 };

static struct volume_options format_options = {.key_bits = 256};
static struct volume_key file_keys[2];
static const char *name_key_texts[NAME_KEYS];
static size_t name_key_count;
static struct volume *mounted;

static void
key_of(const char *passphrase, struct volume_key *out)
{
    struct coffer_error err = {0};

    if (volume_ecryptfs.key_set(bytes_str(passphrase), (struct bytes){0}, out, &err) != 0) {
        fprintf(stderr, "volume_mount: %s\n", err.message);
        exit(1);
    }
}

static void
keys_free(struct volume_key *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        secret_free(keys[i].secret);
        keys[i].secret = NULL;
    }
}

static int
change_names(struct volume_fs *fs, const json_t *request, struct coffer_error *err)
{
    struct volume_options changed = format_options;
    struct volume_key keys[NAME_KEYS] = {0};
    const json_t *list = json_object_get(request, "keys"),
                 *former = json_object_get(request, "former");
    size_t count = json_array_size(list);
    int rc;

    changed.encrypt_names = json_is_true(json_object_get(request, "encrypt"));
    changed.mixed_names = json_is_true(json_object_get(request, "mixed"));
    changed.name_key_bits = (unsigned)json_integer_value(json_object_get(request, "bits"));
    for (size_t i = 0; i < VOLUME_FORMER_CIPHERS; i++)
        changed.former_name_ciphers[i] = json_string_value(json_array_get(former, i));
    for (size_t i = 0; i < count && i < NAME_KEYS; i++)
        key_of(json_string_value(json_array_get(list, i)), &keys[i]);
    rc = names_change(fs, &changed, file_keys, 2, keys, count, err);
    keys_free(keys, NAME_KEYS);
    return rc == 0 ? COFFER_OK : COFFER_E_IO;
}

static int
control(void *arg, struct volume_fs *fs, const char *command, const json_t *request, json_t *reply,
        struct coffer_error *err)
{
    if (strcmp(command, "status") == 0)
        rotation_status(reply);
    if (strcmp(command, "rotate") == 0)
        return rotation_begin(fs, &format_options, request, err);
    if (strcmp(command, "status") == 0)
        return json_object_set_new(reply, "test", json_true()) == 0 ? COFFER_OK : error_nomem(err);
    if (strcmp(command, "copy") == 0)
        return copy(fs, request, reply, err);
    if (strcmp(command, "names") == 0)
        return change_names(fs, request, err);
    if (strcmp(command, "forward") == 0) {
        forward_all(fs, &volume_ecryptfs, mounted, lower_fd, reply);
        return COFFER_OK;
    }
    if (walked_lower != NULL) {
        int rc =
            walk_control(fs, &volume_ecryptfs, mounted, walked_lower, command, request, reply, err);

        if (rc != COFFER_E_UNSUPPORTED)
            return rc;
    }
    return error_set(err, COFFER_E_UNSUPPORTED, "no such command: %s", command);
}

static void
stopping(void *arg, struct volume_fs *fs)
{
    walk_control_stop();
    rotation_end();
    if (copying == NULL)
        return;
    mirror_cancel(fs, copying);
    inode_release(fs, copying, 1);
}

/* ---- volumes ---- */

static int settle_stop, settle_fail;

/* ecryptfs's, which dies or fails once. */
static int
faulty_settle(const struct volume *volume, struct lower *lower, bool *changed,
              struct coffer_error *err)
{
    static int count;

    count++;
    if (count == settle_stop)
        (void)raise(SIGKILL);
    *changed = false;
    return count == settle_fail ? -EIO : volume_ecryptfs.file_settle(volume, lower, changed, err);
}

static const struct volume_format *
ecryptfs_format(void)
{
    static struct volume_format faulty;

    if (settle_stop == 0 && settle_fail == 0)
        return &volume_ecryptfs;
    faulty = volume_ecryptfs;
    faulty.file_settle = faulty_settle;
    return &faulty;
}

static bool utilities_names;

/* The keys of names: those given; or the one of the utilities; or the first of files. */
static int
name_keys_of(const char *key, struct volume_key names[NAME_KEYS], size_t *count)
{
    struct coffer_error err = {0};

    *count = name_key_count;
    for (size_t i = 0; i < name_key_count; i++)
        key_of(name_key_texts[i], &names[i]);
    if (*count > 0)
        return 0;
    *count = utilities_names;
    return utilities_names
               ? volume_ecryptfs.key_set(bytes_str(key), ecryptfs_name_salt(), &names[0], &err)
               : 0;
}

static void
open_or_exit(const struct volume_key *keys, const struct volume_key *names, size_t count,
             struct volume **out)
{
    struct coffer_error err = {0};

    if (volume_ecryptfs.open(&format_options, keys, 2, count > 0 ? names : file_keys,
                             count > 0 ? count : 1, out, &err) != 0) {
        fprintf(stderr, "volume_mount: %s\n", err.message);
        exit(1);
    }
}

/* The volume, and the one that "copy" moves files to. */
static struct volume *
make_volumes(bool ecryptfs, const char *key, const char *old, const char *next_key)
{
    struct volume_key names[NAME_KEYS] = {0}, after[2] = {0};
    struct volume *volume = NULL;
    size_t count;

    if (!ecryptfs) {
        next = plain_volume((uint8_t)atoi(next_key), (uint8_t)atoi(key));
        return plain_volume((uint8_t)atoi(key), (uint8_t)atoi(old != NULL ? old : next_key));
    }
    key_of(key, &file_keys[0]);
    key_of(old != NULL ? old : next_key, &file_keys[1]);
    if (old != NULL)
        key_of(next_key, &after[0]);
    if (name_keys_of(key, names, &count) != 0)
        exit(1);
    open_or_exit(file_keys, names, count, &volume);
    open_or_exit((struct volume_key[2]){old != NULL ? after[0] : file_keys[1], file_keys[0]}, names,
                 count, &next);
    keys_free(names, NAME_KEYS);
    keys_free(after, 2);
    return volume;
}

/* ---- commands ---- */

static int
fail(const struct coffer_error *err)
{
    fprintf(stderr, "volume_mount: %s\n", err->message);
    return err->status;
}

static int
crashed(const char *lower)
{
    struct coffer_error err = {0};
    bool yes;

    if (volume_lower_crashed(lower, &yes, &err) != COFFER_OK)
        return fail(&err);
    printf("%d\n", yes);
    return 0;
}

static int
forward_offline(const char *lower, const char *key)
{
    struct volume *volume = make_volumes(true, key, NULL, key);
    json_t *reply = json_object();
    char *out;

    lower_fd = open(lower, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    forward_all(NULL, &volume_ecryptfs, volume, lower_fd, reply);
    out = json_dumps(reply, JSON_COMPACT);
    puts(out);
    free(out);
    json_decref(reply);
    volume_ecryptfs.close(volume);
    volume_ecryptfs.close(next);
    keys_free(file_keys, 2);
    return 0;
}

static int
call(const char *path, const char *text)
{
    struct coffer_error err = {0};
    json_t *request = json_loads(text, 0, NULL), *reply = NULL;
    char *out;
    int rc = volume_control_call(path, request, &reply, &err);

    json_decref(request);
    if (rc != COFFER_OK)
        return fail(&err);
    out = json_dumps(reply, JSON_COMPACT);
    puts(out);
    free(out);
    json_decref(reply);
    return 0;
}

int
main(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"key", 1, NULL, 'k'},           {"old", 1, NULL, 'o'},
        {"log", 1, NULL, 'l'},           {"descriptors", 1, NULL, 'd'},
        {"threads", 1, NULL, 't'},       {"only-me", 0, NULL, 'm'},
        {"read-only", 0, NULL, 'r'},     {"options", 1, NULL, 'O'},
        {"direct", 1, NULL, 'D'},        {"foreground", 0, NULL, 'f'},
        {"unmount", 1, NULL, 'u'},       {"call", 1, NULL, 'c'},
        {"next", 1, NULL, 'n'},          {"crashed", 1, NULL, 'C'},
        {"format", 1, NULL, 'F'},        {"bits", 1, NULL, 'b'},
        {"encrypt-names", 0, NULL, 'e'}, {"xattr-metadata", 0, NULL, 'x'},
        {"after-crash", 0, NULL, 'a'},   {"settle-stop", 1, NULL, 's'},
        {"settle-fail", 1, NULL, 'S'},   {"name-bits", 1, NULL, 'B'},
        {"name-key", 1, NULL, 'N'},      {"mixed-names", 0, NULL, 'M'},
        {"former", 1, NULL, 'p'},        {"utilities-names", 0, NULL, 'U'},
        {"forward", 1, NULL, 'w'},       {NULL, 0, NULL, 0}};
    struct volume_mount_options options = {
        .log = log_line, .control = control, .stopping = stopping};
    struct volume_background *background = NULL;
    struct coffer_error err = {0};
    const char *direct[8];
    const char *key = "90", *old = NULL, *next_key = "51";
    bool ecryptfs = false, was_crash = false;
    bool foreground = false, parent = false;
    const struct volume_format *format;
    struct volume *volume;
    int opt, rc = COFFER_OK;

    while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (opt) {
        case 'F':
            ecryptfs = strcmp(optarg, "ecryptfs") == 0;
            break;
        case 'k':
            key = optarg;
            break;
        case 'o':
            old = optarg;
            break;
        case 'n':
            next_key = optarg;
            break;
        case 'b':
            format_options.key_bits = (unsigned)atoi(optarg);
            break;
        case 'e':
            format_options.encrypt_names = true;
            break;
        case 'x':
            format_options.xattr_metadata = true;
            break;
        case 'U':
            format_options.encrypt_names = utilities_names = true;
            break;
        case 'B':
            format_options.name_key_bits = (unsigned)atoi(optarg);
            break;
        case 'N':
            if (name_key_count == NAME_KEYS)
                return 2;
            name_key_texts[name_key_count++] = optarg;
            break;
        case 'M':
            format_options.mixed_names = true;
            break;
        case 'p':
            format_options.former_name_ciphers[0] = optarg;
            break;
        case 'w':
            return forward_offline(optarg, key);
        case 'a':
            format_options.after_crash = true;
            break;
        case 's':
            settle_stop = atoi(optarg);
            break;
        case 'S':
            settle_fail = atoi(optarg);
            break;
        case 'l':
            log_fd = open(optarg, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
            break;
        case 'd':
            options.descriptors_max = (unsigned)atoi(optarg);
            break;
        case 't':
            options.threads = (unsigned)atoi(optarg);
            break;
        case 'm':
            options.only_me = true;
            break;
        case 'r':
            options.read_only = true;
            break;
        case 'O':
            options.kernel_options = optarg;
            break;
        case 'D':
            direct[options.direct_count++] = optarg;
            options.direct = direct;
            break;
        case 'f':
            foreground = true;
            break;
        case 'u':
            return volume_unmount(optarg, &err) != COFFER_OK ? fail(&err) : 0;
        case 'C':
            return crashed(optarg);
        case 'c':
            return call(optarg, argv[optind]);
        default:
            return 2;
        }
    }
    if (argc - optind != 2)
        return 2;
    options.lower = argv[optind];
    options.mount_point = argv[optind + 1];
    if (!foreground)
        rc = volume_background_start(&background, &parent, &err);
    if (rc != COFFER_OK)
        return fail(&err);
    if (parent)
        return 0;
    lower_fd = open(options.lower, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    options.background = background;
    format = ecryptfs ? ecryptfs_format() : &plain_format;
    if (volume_lower_crashed(options.lower, &was_crash, NULL) == COFFER_OK && was_crash)
        format_options.after_crash = true;
    volume = mounted = make_volumes(ecryptfs, key, old, next_key);
    if (ecryptfs) {
        walked_lower = options.lower;
        walk_control_keys(&format_options, key, next_key);
        options.recover = rotation_recover;
        options.recover_arg = volume;
    }
    rc = volume_mount_run(&options, format, volume, &err);
    format->close(volume);
    format->close(next);
    keys_free(file_keys, 2);
    volume_background_free(background);
    close(lower_fd);
    return rc == COFFER_OK ? 0 : foreground ? fail(&err) : rc;
}
