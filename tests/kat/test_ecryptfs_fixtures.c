/* SPDX-License-Identifier: Apache-2.0 */
/* The directories in kat/ecryptfs/kernel, which Linux wrote: every file's size and content, every name
 * and link target, and the same bytes back for each name. */
#include "support/test.h"

#include "crypto/crypto.h"
#include "support/memory_lower.h"
#include "support/tar.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define F (&volume_ecryptfs)

struct known {
    char path[400];
    char digest[65]; /* "" where it is no regular file */
    char type[32];
    uint64_t size;
    bool seen;
};

struct tree {
    const char *name;
    unsigned key_bits;
    bool names, xattr;
    struct volume *volume;
    struct known known[64];
    size_t count;
    unsigned files, links, folders;
    struct memory_lower *first; /* of a hard link */
};

static const char *folder;
static struct volume_key key;

static FILE *
open_list(const char *kind, const char *name)
{
    char path[512];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/%s.%s", folder, kind, name);
    f = fopen(path, "re");
    if (f == NULL)
        fail_msg("cannot open %s", path);
    return f;
}

static struct known *
find(struct tree *tree, const char *path)
{
    for (size_t i = 0; i < tree->count; i++)
        if (strcmp(tree->known[i].path, path) == 0)
            return &tree->known[i];
    fail_msg("%s: %s was not in the kernel's mount", tree->name, path);
    return NULL;
}

static void
read_lists(struct tree *tree)
{
    char line[600], path[400], digest[65];
    FILE *f = open_list("stat", tree->name);

    while (fgets(line, sizeof line, f) != NULL) {
        struct known *k = &tree->known[tree->count++];

        assert_true(tree->count < sizeof tree->known / sizeof tree->known[0]);
        assert_int_equal(sscanf(line, "%399[^|]|%31[^|]|%lu", k->path, k->type, &k->size), 3);
    }
    (void)fclose(f);
    f = open_list("sums", tree->name);
    while (fgets(line, sizeof line, f) != NULL) {
        assert_int_equal(sscanf(line, "%64s  %399[^\n]", digest, path), 2);
        memcpy(find(tree, path)->digest, digest, sizeof digest);
    }
    (void)fclose(f);
}

/* The upper path of a lower one, component by component; each must encode to what it was. */
static void
to_upper_path(const struct tree *tree, const char *lower, char *upper, size_t room)
{
    char name[VOLUME_NAME_MAX + 1], again[VOLUME_NAME_MAX + 1];

    (void)snprintf(upper, room, ".");
    while (*lower != '\0') {
        size_t len = strcspn(lower, "/");
        struct bytes component = bytes_of(lower, len);

        if (len > 0) {
            assert_int_equal(F->name_to_upper(tree->volume, component, name, NULL), 0);
            assert_int_equal(F->name_to_lower(tree->volume, bytes_str(name), again, NULL), 0);
            assert_true(bytes_equal(component, bytes_str(again)));
            (void)snprintf(upper + strlen(upper), room - strlen(upper), "/%s", name);
        }
        lower += len + (lower[len] == '/');
    }
}

static void
assert_healthy(void *arg, enum volume_damage damage, const char *message)
{
    fail_msg("%s: %s (%d)", ((struct known *)arg)->path, message, (int)damage);
}

static void
check_file(struct tree *tree, struct known *k, struct memory_lower *m)
{
    struct volume_file_info info;
    struct volume_file *file = NULL;
    struct coffer_error err = {0};
    uint8_t *content = malloc(k->size + 1), digest[32];
    char text[65];

    assert_int_equal(F->file_info(tree->volume, &m->lower, &info, NULL), 0);
    assert_int_equal(info.size, k->size);
    assert_int_equal(info.key_bits, tree->key_bits);
    assert_string_equal(info.keys[0], key.name);
    assert_true(F->file_is_current(tree->volume, &info));
    assert_int_equal(F->file_check(tree->volume, &m->lower, true, assert_healthy, k), VOLUME_OK);
    if (F->file_open(tree->volume, &m->lower, &file, &err) != 0)
        fail_msg("%s: %s", k->path, err.message);
    assert_int_equal(F->file_read(file, content, k->size + 1, 0, NULL), k->size);
    assert_int_equal(sha256(bytes_of(content, k->size), digest, NULL), COFFER_OK);
    hex_encode(bytes_of(digest, 32), text);
    assert_string_equal(text, k->digest);
    F->file_close(file);
    m->closed = false;
    free(content);
}

static void
check_link(struct tree *tree, struct known *k, const char *lower)
{
    struct buf upper, again;

    buf_init(&upper, VOLUME_TARGET_MAX);
    buf_init(&again, VOLUME_TARGET_MAX);
    assert_int_equal(F->target_to_upper(tree->volume, bytes_str(lower), &upper, NULL), 0);
    assert_int_equal(upper.len, k->size);
    assert_string_equal(buf_cstr(&upper),
                        strstr(k->path, "absolute") != NULL ? "/etc/hostname" : "size-4097");
    assert_int_equal(F->target_to_lower(tree->volume, buf_view(&upper), &again, NULL), 0);
    assert_string_equal(buf_cstr(&again), lower);
    buf_wipe(&upper);
    buf_wipe(&again);
}

static struct memory_lower *
lower_of(const struct tar_entry *entry)
{
    struct memory_lower *m = memory_lower_of(entry->content);

    if (entry->xattr.ptr != NULL) {
        memcpy(m->xattr, entry->xattr.ptr, entry->xattr.len);
        m->xattr_len = (ssize_t)entry->xattr.len;
    }
    return m;
}

static void
check_entry(void *arg, const struct tar_entry *entry)
{
    struct tree *tree = arg;
    char prefix[64], upper[700];
    struct memory_lower *m;
    struct known *k;

    (void)snprintf(prefix, sizeof prefix, "lower/%s/", tree->name);
    if (strncmp(entry->path, prefix, strlen(prefix)) != 0)
        return;
    to_upper_path(tree, entry->path + strlen(prefix), upper, sizeof upper);
    k = find(tree, upper);
    assert_false(k->seen);
    k->seen = true;
    switch (entry->type) {
    case TAR_FILE:
        m = lower_of(entry);
        check_file(tree, k, m);
        if (strcmp(upper, "./hardlink") == 0 || strcmp(upper, "./renamed") == 0)
            tree->first = m;
        else
            memory_lower_free(m);
        tree->files++;
        break;
    case TAR_HARD_LINK: /* there is one, and it came before */
        assert_non_null(tree->first);
        check_file(tree, k, tree->first);
        tree->files++;
        break;
    case TAR_SYMLINK:
        check_link(tree, k, entry->link);
        tree->links++;
        break;
    case TAR_FOLDER:
        tree->folders++;
        break;
    default:
        fail_msg("%s: of type %c", entry->path, entry->type);
    }
}

static void
check_tree(struct tree *tree)
{
    struct volume_options options = {
        .key_bits = tree->key_bits, .encrypt_names = tree->names, .xattr_metadata = tree->xattr};
    char path[512];

    assert_int_equal(F->open(&options, &key, 1, NULL, 0, &tree->volume, NULL), 0);
    read_lists(tree);
    (void)snprintf(path, sizeof path, "%s/lower.tar.xz", folder);
    tar_read(path, check_entry, tree);
    assert_int_equal(tree->files, 26);
    assert_int_equal(tree->links, 2);
    for (size_t i = 0; i < tree->count; i++)
        assert_true(tree->known[i].seen);
    memory_lower_free(tree->first);
    F->close(tree->volume);
}

static void
every_file_the_kernel_wrote_reads_as_it_did_there(void **state)
{
    static struct tree trees[] = {
        {.name = "aes128", .key_bits = 128},
        {.name = "aes192", .key_bits = 192},
        {.name = "aes256", .key_bits = 256},
        {.name = "aes192-names", .key_bits = 192, .names = true},
        {.name = "aes256-names", .key_bits = 256, .names = true},
        {.name = "aes256-xattr", .key_bits = 256, .xattr = true},
    };

    for (size_t i = 0; i < sizeof trees / sizeof trees[0]; i++)
        check_tree(&trees[i]);
}

/* Another passphrase opens none of them, and learns their size and key all the same. */
static void
refuse_entry(void *arg, const struct tar_entry *entry)
{
    struct tree *tree = arg;
    struct volume_file_info info;
    struct volume_file *file = NULL;
    struct coffer_error err = {0};
    struct memory_lower *m;

    if (entry->type != TAR_FILE || strncmp(entry->path, "lower/", 6) != 0)
        return;
    m = lower_of(entry);
    assert_int_equal(F->file_info(tree->volume, &m->lower, &info, NULL), 0);
    assert_string_equal(info.keys[0], key.name);
    assert_int_equal(F->file_open(tree->volume, &m->lower, &file, &err), -EKEYREJECTED);
    assert_null(file);
    assert_non_null(strstr(err.message, key.name));
    memory_lower_free(m);
    tree->files++;
}

static void
another_passphrase_opens_none(void **state)
{
    struct tree tree = {.key_bits = 256};
    struct volume_options options = {.key_bits = 256};
    struct volume_key wrong = {0};
    char path[512];

    assert_int_equal(F->key_set(bytes_str("incorrect horse"), bytes_str(""), &wrong, NULL), 0);
    assert_int_equal(F->open(&options, &wrong, 1, NULL, 0, &tree.volume, NULL), 0);
    (void)snprintf(path, sizeof path, "%s/lower.tar.xz", folder);
    tar_read(path, refuse_entry, &tree);
    assert_int_equal(tree.files, 150);
    F->close(tree.volume);
    secret_free(wrong.secret);
}

static int
set_up(void **state)
{
    char path[512], passphrase[65] = "";
    size_t len;
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/passphrase", folder);
    f = fopen(path, "re");
    assert_non_null(f);
    len = fread(passphrase, 1, 64, f);
    (void)fclose(f);
    assert_int_equal(F->key_set(bytes_of(passphrase, len), bytes_str(""), &key, NULL), 0);
    assert_string_equal(key.name, "3ab38bb4917daae6");
    return 0;
}

static int
tear_down(void **state)
{
    secret_free(key.secret);
    return secret_live_count() == 0 ? 0 : -1;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_the_kernel_wrote_reads_as_it_did_there),
        cmocka_unit_test(another_passphrase_opens_none),
    };

    if (argc != 2)
        return 2;
    folder = argv[1];
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
