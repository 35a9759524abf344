/* SPDX-License-Identifier: Apache-2.0 */
/* A volume as the keyring knows it: derivation, record, states of keys. */
#include "support/memory_store.h"
#include "support/test.h"
#include "volume/ecryptfs/ecryptfs.h"
#include "volume/record.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    struct memory_store *store;
    struct keyring *keyring;
    char lower[64], record[128];
    struct volume_setup setup;
    uint32_t key;
};

static void
key_add(struct fixture *f, uint32_t *id)
{
    struct coffer_error err = {0};

    assert_int_equal(keyring_key_add(f->keyring, KEY_VOLUME, f->setup.line, "test", 1, id, &err), COFFER_OK);
}

static void
key_move(struct fixture *f, uint32_t id, enum key_state state)
{
    struct coffer_error err = {0};

    assert_int_equal(keyring_key_move(f->keyring, id, state, 2, &err), COFFER_OK);
}

/* A folder with a record, as `volume create` makes it. */
static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct keyring_database database = {.engine = "ecryptfs", .keep_days = 400};
    struct coffer_error err = {0};
    char id[37];

    f->store = memory_store_new();
    assert_int_equal(f->store->store.load(&f->store->store, &f->keyring, &err), COFFER_OK);
    strcpy(f->lower, "/tmp/coffer-setup-XXXXXX");
    assert_non_null(mkdtemp(f->lower));
    snprintf(f->record, sizeof f->record, "%s/%s", f->lower, VOLUME_RECORD);
    f->setup.format = &volume_ecryptfs;
    f->setup.options = (struct volume_options){.key_bits = 192, .encrypt_names = true};
    assert_int_equal(uuid_new(&f->setup.id, &err), COFFER_OK);
    uuid_format(&f->setup.id, id);
    snprintf(f->setup.line, sizeof f->setup.line, "volume/%s", id);
    strcpy(f->setup.lower, f->lower);
    database.id = f->setup.id;
    snprintf(database.name, sizeof database.name, "volume:%s", f->lower);
    assert_int_equal(keyring_database_put(f->keyring, &database, &err), COFFER_OK);
    key_add(f, &f->key);
    key_move(f, f->key, KEY_ACTIVE);
    assert_int_equal(volume_setup_save(&f->setup, f->keyring, &err), COFFER_OK);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    char command[100];

    snprintf(command, sizeof command, "rm -rf %s", f->lower);
    assert_int_equal(system(command), 0);
    keyring_free(f->keyring);
    memory_store_free(f->store);
    free(f);
    return 0;
}

static int
load(struct fixture *f, struct volume_setup *out, struct coffer_error *err)
{
    return volume_setup_load(f->lower, f->keyring, false, out, err);
}

static size_t
file_read(const char *path, char *out, size_t max)
{
    FILE *file = fopen(path, "rb");
    size_t n;

    assert_non_null(file);
    n = fread(out, 1, max, file);
    fclose(file);
    return n;
}

static void
file_write(const char *path, const char *data, size_t len)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    fclose(file);
}

/* ---- tests ---- */

/* Computed by an independent HKDF (RFC 5869, hmac and hashlib of Python). */
static void
the_passphrase_is_derived_as_documented(void **state)
{
    struct secret *material, *passphrase;
    struct coffer_error err = {0};
    uint8_t bytes[32];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(secret_copy(bytes_of(bytes, sizeof bytes), &material, &err), COFFER_OK);
    assert_int_equal(volume_passphrase(material, 0x5447c6e0, &passphrase, &err), COFFER_OK);
    assert_int_equal(secret_len(passphrase), 64);
    assert_memory_equal(secret_expose(passphrase).ptr, "b843f321eff3984204d028b18c89aa1ef5bce2c247ea776a969fe0bb5f700aeb", 64);
    secret_free(passphrase);
    secret_free(material);
}

static void
what_was_saved_is_loaded(void **state)
{
    struct fixture *f = *state;
    struct volume_setup s;
    struct volume *volume;
    struct coffer_error err = {0};
    struct stat st;

    assert_int_equal(load(f, &s, &err), COFFER_OK);
    assert_true(uuid_equal(&s.id, &f->setup.id));
    assert_string_equal(s.line, f->setup.line);
    assert_int_equal(s.record_epoch, 1);
    assert_int_equal(s.options.key_bits, 192);
    assert_true(s.options.encrypt_names && !s.options.xattr_metadata && !s.options.mixed_names && !s.importing);
    assert_int_equal(s.keys.count, 1);
    assert_int_equal(s.keys.keys[0].id, f->key);
    assert_string_equal(s.keys.keys[0].name, s.names.keys[0].name);
    assert_int_equal(volume_setup_open(&s, &volume, &err), COFFER_OK);
    s.format->close(volume);
    assert_int_equal(stat(f->record, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);

    s.rotation = (struct volume_rotation){.work = 2, .to_key = 0x5447c6e0, .reversed = true, .former_key_bits = 128,
                                          .former_name_key_bits = 256};
    s.importing = true;
    assert_int_equal(volume_setup_save(&s, f->keyring, &err), COFFER_OK);
    volume_setup_close(&s);
    assert_int_equal(load(f, &s, &err), COFFER_OK);
    assert_int_equal(s.record_epoch, 2);
    assert_true(s.importing && s.options.mixed_names);
    assert_int_equal(s.rotation.work, 2);
    assert_int_equal(s.rotation.to_key, 0x5447c6e0);
    assert_true(s.rotation.reversed);
    assert_int_equal(s.rotation.former_key_bits, 128);
    assert_int_equal(s.rotation.former_name_key_bits, 256);
    assert_false(s.rotation.former_encrypt_names);
    volume_setup_close(&s);
}

static void
two_that_change_the_record_are_told_apart(void **state)
{
    struct fixture *f = *state;
    struct volume_setup s;
    struct coffer_error err = {0};

    assert_int_equal(load(f, &s, &err), COFFER_OK);
    assert_int_equal(volume_setup_save(&f->setup, f->keyring, &err), COFFER_OK);
    assert_int_equal(volume_setup_save(&s, f->keyring, &err), COFFER_E_CONFLICT);
    volume_setup_close(&s);
}

/* Whatever is changed in the record, nobody opens the volume by it: the cipher could be lowered otherwise. */
static void
an_edited_record_is_refused(void **state)
{
    struct fixture *f = *state;
    char text[4096], changed[4096];
    size_t n = file_read(f->record, text, sizeof text);
    struct volume_setup s;
    struct coffer_error err = {0};

    for (size_t i = 0; i + 1 < n; i++) { /* but the line end */
        memcpy(changed, text, n);
        changed[i] = (char)(changed[i] ^ 1);
        file_write(f->record, changed, n);
        assert_int_not_equal(load(f, &s, &err), COFFER_OK);
        assert_int_equal(s.keys.count, 0);
    }
    for (size_t len = 0; len + 1 < n; len++) {
        file_write(f->record, text, len);
        assert_int_equal(load(f, &s, &err), COFFER_E_FORMAT);
    }
    assert_non_null(strstr(err.message, f->record));
    memcpy(changed, text, n);
    memcpy(strstr(changed, "\"key_bits\":192"), "\"key_bits\":128", 14);
    file_write(f->record, changed, n);
    assert_int_equal(load(f, &s, &err), COFFER_E_TAMPERED);
    unlink(f->record);
    assert_int_equal(load(f, &s, &err), COFFER_E_NOTFOUND);
    assert_non_null(strstr(err.message, "coffer volume create"));
}

static void
a_record_of_another_volume_or_keyring_is_refused(void **state)
{
    struct fixture *f = *state;
    struct memory_store *other = memory_store_new();
    struct keyring *keyring;
    struct volume_setup s;
    struct coffer_error err = {0};
    char moved[80], command[200];

    assert_int_equal(other->store.load(&other->store, &keyring, &err), COFFER_OK);
    assert_int_equal(volume_setup_load(f->lower, keyring, false, &s, &err), COFFER_E_REFUSED);
    assert_non_null(strstr(err.message, "another keyring"));
    keyring_free(keyring);
    memory_store_free(other);

    snprintf(moved, sizeof moved, "%s-moved", f->lower);
    snprintf(command, sizeof command, "cp -a %s %s", f->lower, moved);
    assert_int_equal(system(command), 0);
    assert_int_equal(volume_setup_load(moved, f->keyring, false, &s, &err), COFFER_E_REFUSED);
    assert_non_null(strstr(err.message, "--moved"));
    assert_int_equal(volume_setup_load(moved, f->keyring, true, &s, &err), COFFER_OK);
    volume_setup_close(&s);
    snprintf(command, sizeof command, "rm -rf %s", moved);
    assert_int_equal(system(command), 0);
    assert_int_equal(volume_setup_load("/nowhere/at/all", f->keyring, false, &s, &err), COFFER_E_NOTFOUND);
}

/* Staged and draining keys open, the active one writes, fenced ones are let go of. */
static void
states_decide_what_a_key_may(void **state)
{
    struct fixture *f = *state;
    struct volume_setup s;
    struct coffer_error err = {0};
    uint32_t next;

    assert_int_equal(load(f, &s, &err), COFFER_OK);
    key_add(f, &next);
    assert_int_equal(volume_setup_refresh(&s, f->keyring, &err), COFFER_OK);
    assert_int_equal(s.keys.count, 2);
    assert_int_equal(s.keys.keys[0].id, f->key);
    assert_int_equal(s.keys.keys[1].id, next);
    assert_string_not_equal(s.keys.keys[0].name, s.keys.keys[1].name);
    key_move(f, next, KEY_ACTIVE);
    assert_int_equal(volume_setup_refresh(&s, f->keyring, &err), COFFER_OK);
    assert_int_equal(s.keys.count, 2);
    assert_int_equal(s.keys.keys[0].id, next);
    assert_int_equal(s.names.keys[0].id, next);
    key_move(f, f->key, KEY_FENCED);
    assert_int_equal(volume_setup_refresh(&s, f->keyring, &err), COFFER_OK);
    assert_int_equal(s.keys.count, 1);
    assert_int_equal(s.keys.keys[0].id, next);
    volume_setup_close(&s);
}

/* The utilities make the key of names with a salt of its own, or use the file key: the names say which. */
static void
a_passphrase_finds_the_key_of_names(void **state)
{
    struct fixture *f = *state;
    struct volume_options options = {.key_bits = 128, .encrypt_names = true};
    struct bytes passphrase = bytes_str("correct horse");
    struct volume_setup s;
    struct volume *volume;
    struct volume_key first;
    struct coffer_error err = {0};
    char lower[VOLUME_NAME_MAX + 1], path[512];

    assert_int_equal(volume_setup_passphrase(f->lower, &volume_ecryptfs, passphrase, (struct bytes){0}, &options, &s, &err), COFFER_OK);
    assert_false(s.in_keyring);
    assert_int_equal(s.names.count, 2);
    assert_string_equal(s.keys.keys[0].name, s.names.keys[0].name); /* no name to look at */
    first = s.names.keys[0];
    s.names.keys[0] = s.names.keys[1];
    s.names.keys[1] = first;
    assert_int_equal(volume_setup_open(&s, &volume, &err), COFFER_OK);
    assert_int_equal(s.format->name_to_lower(volume, bytes_str("deep"), lower, &err), 0);
    s.format->close(volume);
    snprintf(path, sizeof path, "%s/sub", f->lower);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/sub/%s", f->lower, lower);
    assert_int_equal(mkdir(path, 0700), 0);
    volume_setup_close(&s);

    assert_int_equal(volume_setup_passphrase(f->lower, &volume_ecryptfs, passphrase, (struct bytes){0}, &options, &s, &err), COFFER_OK);
    assert_string_not_equal(s.keys.keys[0].name, s.names.keys[0].name);
    volume_setup_close(&s);
    assert_int_equal(volume_setup_passphrase(f->lower, &volume_ecryptfs, bytes_str("wrong"), (struct bytes){0}, &options, &s, &err),
                     COFFER_E_KEY);
    assert_non_null(strstr(err.message, "which this passphrase does not give"));
}

/* A file and a name as a kernel's mount with these options leaves them. */
static void
leave(struct fixture *f, const struct volume_options *options, struct bytes passphrase)
{
    struct coffer_error err = {0};
    char lower[VOLUME_NAME_MAX + 1], path[512];
    struct volume_setup s;
    struct volume *volume;
    struct volume_file *file;
    struct lower *opened;

    assert_int_equal(volume_setup_passphrase(f->lower, &volume_ecryptfs, passphrase, (struct bytes){0}, options, &s, &err), COFFER_OK);
    assert_int_equal(volume_setup_open(&s, &volume, &err), COFFER_OK);
    assert_int_equal(s.format->name_to_lower(volume, bytes_str("letter"), lower, &err), 0);
    snprintf(path, sizeof path, "%s/%s", f->lower, lower);
    assert_int_equal(lower_fd_open(open(path, O_RDWR | O_CREAT | O_EXCL, 0600), &opened, &err), 0);
    assert_int_equal(s.format->file_create(volume, opened, &file, &err), 0);
    s.format->file_close(file);
    s.format->close(volume);
    volume_setup_close(&s);
}

/* A mount that shows nothing, because passphrase or cipher are others, is how people lose trust, or make files under two keys. */
static void
a_wrong_passphrase_or_cipher_is_refused(void **state)
{
    struct fixture *f = *state;
    struct volume_options made = {.key_bits = 192, .encrypt_names = true}, asked = {0};
    struct bytes passphrase = bytes_str("correct horse");
    struct coffer_error err = {0};
    struct volume_setup s;

    leave(f, &made, passphrase);
    asked.encrypt_names = true;
    assert_int_equal(volume_setup_passphrase(f->lower, &volume_ecryptfs, passphrase, (struct bytes){0}, &asked, &s, &err), COFFER_OK);
    assert_int_equal(s.options.key_bits, 192); /* as the files have it */
    assert_int_equal(s.options.name_key_bits, 192);
    volume_setup_close(&s);

    assert_int_equal(volume_setup_passphrase(f->lower, &volume_ecryptfs, bytes_str("wrong"), (struct bytes){0}, &asked, &s, &err),
                     COFFER_E_KEY);
    assert_non_null(strstr(err.message, "the files in"));
    asked.key_bits = 256;
    assert_int_equal(volume_setup_passphrase(f->lower, &volume_ecryptfs, passphrase, (struct bytes){0}, &asked, &s, &err),
                     COFFER_E_REFUSED);
    assert_non_null(strstr(err.message, "--cipher aes-192"));
    asked = (struct volume_options){.key_bits = 192};
    assert_int_equal(volume_setup_passphrase(f->lower, &volume_ecryptfs, passphrase, (struct bytes){0}, &asked, &s, &err),
                     COFFER_E_REFUSED);
    assert_non_null(strstr(err.message, "--encrypt-names"));
    assert_int_equal(s.keys.count, 0);
}

/* Both forms of names are understood only while one turns into the other. */
static void
names_are_of_two_forms_while_they_change(void **state)
{
    struct fixture *f = *state;
    struct coffer_error err = {0};
    struct volume_setup s;

    assert_int_equal(load(f, &s, &err), COFFER_OK);
    s.rotation = (struct volume_rotation){.work = 1, .former_key_bits = 192, .former_name_key_bits = 192, .former_encrypt_names = true};
    assert_int_equal(volume_setup_save(&s, f->keyring, &err), COFFER_OK);
    assert_false(s.options.mixed_names); /* another key needs no such leave */
    s.options.name_key_bits = 256;
    assert_int_equal(volume_setup_save(&s, f->keyring, &err), COFFER_OK);
    assert_false(s.options.mixed_names); /* nor another cipher: plain names are none of this volume's */
    assert_string_equal(s.options.former_name_ciphers[0], "aes-192");
    s.options.encrypt_names = false;
    assert_int_equal(volume_setup_save(&s, f->keyring, &err), COFFER_OK);
    assert_true(s.options.mixed_names);
    s.options.encrypt_names = true;
    s.rotation.work = 0;
    assert_int_equal(volume_setup_save(&s, f->keyring, &err), COFFER_OK);
    assert_false(s.options.mixed_names);
    assert_null(s.options.former_name_ciphers[0]);
    volume_setup_close(&s);
}

/* An old record lowers the cipher as an edited one would; a mount that has seen the newer one says so. */
static void
an_older_record_is_not_taken(void **state)
{
    struct fixture *f = *state;
    struct coffer_error err = {0};
    struct volume_setup s;
    char text[4096];
    size_t n = file_read(f->record, text, sizeof text);

    assert_int_equal(load(f, &s, &err), COFFER_OK);
    s.options.key_bits = 256;
    assert_int_equal(volume_setup_save(&s, f->keyring, &err), COFFER_OK);
    file_write(f->record, text, n);
    assert_int_equal(volume_setup_refresh(&s, f->keyring, &err), COFFER_E_ROLLBACK);
    assert_int_equal(s.options.key_bits, 256);
    assert_int_equal(s.keys.count, 1);
    volume_setup_close(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_passphrase_is_derived_as_documented),
        cmocka_unit_test_setup_teardown(what_was_saved_is_loaded, setup, teardown),
        cmocka_unit_test_setup_teardown(two_that_change_the_record_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(an_edited_record_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_of_another_volume_or_keyring_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(states_decide_what_a_key_may, setup, teardown),
        cmocka_unit_test_setup_teardown(a_passphrase_finds_the_key_of_names, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_passphrase_or_cipher_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(names_are_of_two_forms_while_they_change, setup, teardown),
        cmocka_unit_test_setup_teardown(an_older_record_is_not_taken, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
