/* SPDX-License-Identifier: Apache-2.0 */
#include "lifecycle_bench.h"

#include "base/mem.h"
#include "crypto/crypto.h"
#include "host/host.h"
#include "ledger/audit.h"
#include "ledger/certificate.h"
#include "ledger/retire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the seam: every call of the store, before and after it, and every word ---- */

static unsigned ticks, die_at;

void
bench_die_at(unsigned n)
{
    ticks = 0;
    die_at = n;
}

static void
tick(void)
{
    if (++ticks == die_at)
        _exit(9);
}

static struct keyring_store *
behind(struct keyring_store *seam)
{
    tick();
    return seam->ctx;
}

static int
after(int rc)
{
    tick();
    return rc;
}

static int
seam_load(struct keyring_store *s, struct keyring **out, struct coffer_error *err)
{
    struct keyring_store *real = s->ctx;

    return real->load(real, out, err);
}

static int
seam_commit(struct keyring_store *s, struct keyring *kr, struct coffer_error *err)
{
    struct keyring_store *real = behind(s);

    return after(real->commit(real, kr, err));
}

static int
seam_escrow_put(struct keyring_store *s, uint32_t id, struct bytes content,
                struct coffer_error *err)
{
    struct keyring_store *real = behind(s);

    return after(real->escrow_put(real, id, content, err));
}

static int
seam_escrow_get(struct keyring_store *s, uint32_t id, struct buf *content, struct coffer_error *err)
{
    struct keyring_store *real = s->ctx;

    return real->escrow_get(real, id, content, err);
}

static int
seam_audit_append(struct keyring_store *s,
                  int (*make)(void *arg, struct bytes log, struct buf *line,
                              struct coffer_error *err),
                  void *arg, struct coffer_error *err)
{
    struct keyring_store *real = behind(s);

    return after(real->audit_append(real, make, arg, err));
}

static int
seam_audit_read(struct keyring_store *s, struct buf *out, struct coffer_error *err)
{
    struct keyring_store *real = s->ctx;

    return real->audit_read(real, out, err);
}

static int
seam_certificate_put(struct keyring_store *s, const char *name, struct bytes content,
                     struct coffer_error *err)
{
    struct keyring_store *real = behind(s);

    return after(real->certificate_put(real, name, content, err));
}

static void
on_say(void *arg, const char *step, const char *text)
{
    struct bench *b = arg;

    tick();
    snprintf(b->said[b->said_count++ % 64], sizeof b->said[0], "%s: %s", step, text);
}

static bool
on_stop(void *arg)
{
    struct bench *b = arg;

    return b->stop_at != 0 && ++b->asked >= b->stop_at;
}

bool
bench_said(const struct bench *b, const char *part)
{
    size_t i;

    for (i = 0; i < b->said_count && i < 64; i++) {
        if (strstr(b->said[i], part) != NULL)
            return true;
    }
    return false;
}

void
bench_must(struct bench *b, int rc, const struct coffer_error *err)
{
    size_t i;

    if (rc == COFFER_OK)
        return;
    for (i = 0; i < b->said_count && i < 64; i++)
        print_message("%s\n", b->said[i]);
    fail_msg("status %d: %s", rc, err->message);
}

/* ---- set-up ---- */

static struct kek *
new_kek(void)
{
    uint8_t key[32];
    struct kek *kek;

    memset(key, 0x42, sizeof key);
    assert_int_equal(kek_key_new(bytes_of(key, sizeof key), &kek, NULL), COFFER_OK);
    return kek;
}

int
bench_setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    struct coffer_error err = {0};

    assert_non_null(b);
    bench_die_at(0);
    /* In memory where that is possible: what is tested is not the disk, and everything is synced. */
    strcpy(b->base, "/dev/shm/coffer-life-XXXXXX");
    if (mkdtemp(b->base) == NULL) {
        strcpy(b->base, "/tmp/coffer-life-XXXXXX");
        assert_non_null(mkdtemp(b->base));
    }
    snprintf(b->lower, sizeof b->lower, "%s/lower", b->base);
    snprintf(b->path, sizeof b->path, "%s/k.coffer", b->base);
    assert_int_equal(mkdir(b->lower, 0755), 0);
    bench_must(b, file_store_init(b->path, new_kek(), &os_real, "tester", &err), &err);
    bench_must(b, file_store_open(b->path, new_kek(), &os_real, &b->store, &err), &err);
    b->seam = (struct keyring_store){.load = seam_load,
                                     .commit = seam_commit,
                                     .escrow_put = seam_escrow_put,
                                     .escrow_get = seam_escrow_get,
                                     .audit_append = seam_audit_append,
                                     .audit_read = seam_audit_read,
                                     .certificate_put = seam_certificate_put,
                                     .ctx = b->store};
    b->env = (struct volume_env){.store = &b->seam,
                                 .os = &os_real,
                                 .who = "tester@test",
                                 .stop = on_stop,
                                 .say = on_say,
                                 .arg = b};
    buf_init(&b->before, 1u << 20);
    *state = b;
    return 0;
}

int
bench_teardown(void **state)
{
    struct bench *b = *state;
    char command[128];

    bench_die_at(0);
    file_store_close(b->store);
    snprintf(command, sizeof command, "rm -rf %s", b->base);
    assert_int_equal(system(command), 0);
    buf_wipe(&b->before);
    free(b);
    return 0;
}

struct keyring *
bench_keyring(struct bench *b)
{
    struct coffer_error err = {0};
    struct keyring *kr;

    bench_must(b, b->store->load(b->store, &kr, &err), &err);
    return kr;
}

void
bench_load(struct bench *b, struct volume_setup *setup)
{
    struct coffer_error err = {0};
    struct keyring *kr = bench_keyring(b);

    bench_must(b, volume_setup_load(b->lower, kr, false, setup, &err), &err);
    keyring_free(kr);
}

uint32_t
bench_key(struct bench *b, enum key_state state)
{
    struct keyring *kr = bench_keyring(b);
    uint32_t id = 0;
    size_t i;

    for (i = 0; i < keyring_key_count(kr); i++) {
        const struct keyring_key *key = keyring_key_at(kr, i);

        if (key->purpose == KEY_VOLUME && key->state == state)
            id = key->id;
    }
    keyring_free(kr);
    return id;
}

/* ---- content ---- */

static void
put_file(struct volume *volume, int folder, const char *name, size_t size)
{
    char lower_name[VOLUME_NAME_MAX + 1];
    struct volume_file *file;
    struct lower *lower;
    uint8_t *data = malloc(size + 1);
    size_t i;
    int fd;

    assert_non_null(data);
    for (i = 0; i < size; i++)
        data[i] = (uint8_t)(i * 31 + i / 253 + size + (unsigned char)name[0]);
    assert_int_equal(volume_ecryptfs.name_to_lower(volume, bytes_str(name), lower_name, NULL), 0);
    fd = openat(folder, lower_name, O_RDWR | O_CREAT | O_EXCL, 0644);
    assert_true(fd >= 0);
    assert_int_equal(lower_fd_open(fd, &lower, NULL), 0);
    assert_int_equal(volume_ecryptfs.file_create(volume, lower, &file, NULL), 0);
    assert_int_equal(volume_ecryptfs.file_write(file, data, size, 0, 0, NULL), 0);
    assert_int_equal(volume_ecryptfs.file_sync(file, false, NULL), 0);
    volume_ecryptfs.file_close(file);
    free(data);
}

static int
make_folder(struct volume *volume, int folder, const char *name)
{
    char lower_name[VOLUME_NAME_MAX + 1];
    int fd;

    assert_int_equal(volume_ecryptfs.name_to_lower(volume, bytes_str(name), lower_name, NULL), 0);
    assert_int_equal(mkdirat(folder, lower_name, 0755), 0);
    fd = openat(folder, lower_name, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    return fd;
}

static void
make_link(struct volume *volume, int folder, const char *name, const char *target)
{
    char lower_name[VOLUME_NAME_MAX + 1];
    struct buf lower;

    buf_init(&lower, 8192);
    assert_int_equal(volume_ecryptfs.name_to_lower(volume, bytes_str(name), lower_name, NULL), 0);
    assert_int_equal(volume_ecryptfs.target_to_lower(volume, bytes_str(target), &lower, NULL), 0);
    assert_int_equal(symlinkat(buf_cstr(&lower), folder, lower_name), 0);
    buf_wipe(&lower);
}

void
bench_fill(struct bench *b, const struct volume_options *options)
{
    struct coffer_error err = {0};
    struct volume_setup setup;
    struct volume *volume;
    char one[VOLUME_NAME_MAX + 1], two[VOLUME_NAME_MAX + 1];
    int top, sub, deep;

    bench_must(b, volume_create(&b->env, b->lower, options, &err), &err);
    bench_load(b, &setup);
    bench_must(b, volume_setup_open(&setup, &volume, &err), &err);
    top = open(b->lower, O_RDONLY | O_DIRECTORY);
    sub = make_folder(volume, top, "sub");
    deep = make_folder(volume, sub, "deep");
    put_file(volume, top, "one", 5000);
    put_file(volume, top, "nothing", 0);
    put_file(volume, top, "page", 4096);
    put_file(volume, sub, "two", 1);
    put_file(volume, sub, "large", 300000);
    put_file(volume, deep, "three", 12345);
    put_file(volume, deep, "four", 8192);
    put_file(volume, deep, "linked", 20000);
    assert_int_equal(volume_ecryptfs.name_to_lower(volume, bytes_str("linked"), one, NULL), 0);
    assert_int_equal(volume_ecryptfs.name_to_lower(volume, bytes_str("second name"), two, NULL), 0);
    assert_int_equal(linkat(deep, one, top, two, 0), 0);
    make_link(volume, top, "way", "sub/deep/three");
    close(deep);
    close(sub);
    close(top);
    volume_ecryptfs.close(volume);
    volume_setup_close(&setup);
    bench_manifest(b, &b->before);
}

/* ---- what is there ---- */

struct lines {
    char *line[64];
    size_t count;
};

static int
by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
describe_file(struct volume *volume, int folder, const char *lower_name, const char *path,
              const struct stat *st, struct lines *lines)
{
    int fd = openat(folder, lower_name, O_RDONLY);
    struct coffer_error err = {0};
    struct volume_file *file;
    struct lower *lower;
    uint8_t hash[32], *data;
    uint64_t size;
    char hex[65];

    assert_true(fd >= 0);
    assert_int_equal(lower_fd_open(fd, &lower, NULL), 0);
    if (volume_ecryptfs.file_open(volume, lower, &file, &err) != 0)
        fail_msg("%s does not open: %s", path, err.message);
    size = volume_ecryptfs.file_size(file);
    data = malloc(size + 1);
    if (volume_ecryptfs.file_read(file, data, size, 0, &err) != (ssize_t)size)
        fail_msg("%s does not read: %s", path, err.message);
    assert_int_equal(sha256(bytes_of(data, size), hash, NULL), COFFER_OK);
    hex_encode(bytes_of(hash, sizeof hash), hex);
    lines->line[lines->count++] = mem_format("%s %llu %s names %u", path, (unsigned long long)size,
                                             hex, (unsigned)st->st_nlink);
    volume_ecryptfs.file_close(file);
    free(data);
}

static void
describe_link(struct volume *volume, int folder, const char *lower_name, const char *path,
              struct lines *lines)
{
    char target[8192];
    ssize_t len = readlinkat(folder, lower_name, target, sizeof target);
    struct buf upper;

    assert_true(len > 0);
    buf_init(&upper, 8192);
    assert_int_equal(
        volume_ecryptfs.target_to_upper(volume, bytes_of(target, (size_t)len), &upper, NULL), 0);
    lines->line[lines->count++] = mem_format("%s -> %s", path, buf_cstr(&upper));
    buf_wipe(&upper);
}

static void
describe(struct volume *volume, int folder, const char *prefix, struct lines *lines)
{
    DIR *dir = fdopendir(folder);
    const struct dirent *entry;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        char upper[VOLUME_NAME_MAX + 1], path[600];
        struct stat st;

        if (entry->d_name[0] == '.' &&
            (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
             strncmp(entry->d_name, ".coffer", 7) == 0))
            continue;
        if (volume_ecryptfs.name_to_upper(volume, bytes_str(entry->d_name), upper, NULL) != 0)
            fail_msg("%s/%s is no name of this volume", prefix, entry->d_name);
        snprintf(path, sizeof path, "%s/%s", prefix, upper);
        assert_int_equal(fstatat(folder, entry->d_name, &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_true(lines->count < 64);
        if (S_ISDIR(st.st_mode))
            describe(volume, openat(folder, entry->d_name, O_RDONLY | O_DIRECTORY), path, lines);
        else if (S_ISLNK(st.st_mode))
            describe_link(volume, folder, entry->d_name, path, lines);
        else
            describe_file(volume, folder, entry->d_name, path, &st, lines);
    }
    closedir(dir);
}

void
bench_manifest(struct bench *b, struct buf *out)
{
    struct lines lines = {0};
    struct coffer_error err = {0};
    struct volume_setup setup;
    struct volume *volume;
    size_t i;

    bench_load(b, &setup);
    bench_must(b, volume_setup_open(&setup, &volume, &err), &err);
    describe(volume, open(b->lower, O_RDONLY | O_DIRECTORY), "", &lines);
    qsort(lines.line, lines.count, sizeof *lines.line, by_text);
    buf_clear(out);
    for (i = 0; i < lines.count; i++) {
        buf_format(out, "%s\n", lines.line[i]);
        mem_free(lines.line[i]);
    }
    volume_ecryptfs.close(volume);
    volume_setup_close(&setup);
}

void
bench_count(struct bench *b, struct volume_count *count)
{
    struct coffer_error err = {0};
    struct volume_setup setup;
    struct volume *volume;

    bench_load(b, &setup);
    bench_must(b, volume_setup_open(&setup, &volume, &err), &err);
    bench_must(b,
               volume_scan(b->lower, NULL, &volume_ecryptfs, volume, NULL, NULL, NULL, count, &err),
               &err);
    volume_ecryptfs.close(volume);
    volume_setup_close(&setup);
}

void
bench_lower_of(struct bench *b, const char *name, char out[400])
{
    char lower_name[VOLUME_NAME_MAX + 1];
    struct coffer_error err = {0};
    struct volume_setup setup;
    struct volume *volume;

    bench_load(b, &setup);
    bench_must(b, volume_setup_open(&setup, &volume, &err), &err);
    assert_int_equal(volume_ecryptfs.name_to_lower(volume, bytes_str(name), lower_name, NULL), 0);
    snprintf(out, 400, "%s/%s", b->lower, lower_name);
    volume_ecryptfs.close(volume);
    volume_setup_close(&setup);
}

/* ---- the end state ---- */

/* Every key but the active one has its certificate, signed by this keyring, and an escrow file that holds it. */
static void
check_retired(struct bench *b, const struct keyring *kr, const struct volume_setup *setup)
{
    uint8_t public_key[32];
    size_t i;

    assert_int_equal(audit_public_key(kr, public_key, NULL), COFFER_OK);
    for (i = 0; i < keyring_key_count(kr); i++) {
        const struct keyring_key *key = keyring_key_at(kr, i);
        struct coffer_error err = {0};
        char name[RETIRE_NAME_LEN];
        struct keyring *escrowed;
        struct buf content;
        uint32_t id;

        if (key->purpose != KEY_VOLUME || key->state == KEY_ACTIVE)
            continue;
        assert_int_equal(key->state, KEY_ESCROWED);
        assert_non_null(keyring_certificate(kr, key->id, &setup->id));
        buf_init(&content, 1u << 20);
        retire_certificate_name(key->id, &setup->id, name);
        bench_must(b, b->store->certificate_get(b->store, name, &content, &err), &err);
        bench_must(b, certificate_verify(buf_view(&content), public_key, NULL, NULL, &id, &err),
                   &err);
        assert_int_equal(id, key->id);
        buf_clear(&content);
        bench_must(b, b->store->escrow_get(b->store, key->id, &content, &err), &err);
        bench_must(b, keyring_decode_again(buf_view(&content), kr, &escrowed, &err), &err);
        assert_non_null(keyring_material(escrowed, key->id));
        keyring_free(escrowed);
        buf_wipe(&content);
    }
}

/* Nothing but the record is left of Coffer's own. */
static void
check_no_litter(const struct bench *b)
{
    char command[160];

    snprintf(command, sizeof command,
             "test -z \"$(find %s -name '.coffer*' ! -name '" VOLUME_RECORD "')\"", b->lower);
    assert_int_equal(system(command), 0);
}

void
bench_settled(struct bench *b, unsigned key_bits, bool encrypted_names)
{
    struct keyring *kr = bench_keyring(b);
    struct coffer_error err = {0};
    struct volume_setup setup;
    struct volume_count count;
    struct buf now, log;
    uint64_t entries;

    bench_load(b, &setup);
    assert_int_equal(setup.rotation.work, 0);
    assert_false(setup.options.mixed_names);
    assert_int_equal(setup.options.key_bits, key_bits);
    assert_int_equal(setup.options.encrypt_names, encrypted_names);
    assert_int_equal(setup.keys.count, 1);

    bench_count(b, &count);
    assert_int_equal(count.files, BENCH_FILES);
    assert_int_equal(count.damaged + count.plain + count.other_keys, 0);
    assert_int_equal(count.key_count, 1);
    assert_string_equal(count.keys[0].key, setup.keys.keys[0].name);
    assert_int_equal(count.keys[0].files, BENCH_FILES);
    assert_int_equal(count.names > 0, encrypted_names);

    buf_init(&now, 1u << 20);
    bench_manifest(b, &now);
    assert_string_equal(buf_cstr(&now), buf_cstr(&b->before));
    check_retired(b, kr, &setup);
    check_no_litter(b);

    buf_init(&log, 16u << 20);
    bench_must(b, b->store->audit_read(b->store, &log, &err), &err);
    bench_must(b, audit_verify(buf_view(&log), kr, NULL, NULL, NULL, &entries, &err), &err);
    buf_wipe(&log);
    buf_wipe(&now);
    volume_setup_close(&setup);
    keyring_free(kr);
}
