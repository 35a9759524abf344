/* SPDX-License-Identifier: Apache-2.0 */
/* The known answers of eCryptfs in kat/ecryptfs/: made by its utilities, or read by the kernel. */
#include "support/test.h"

#include "crypto/crypto.h"
#include "support/kat.h"
#include "support/memory_lower.h"
#include "volume/ecryptfs/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define F (&volume_ecryptfs)

static struct volume_key test_key, second_key, name_key;

static struct volume *
volume_of(unsigned key_bits, const char *name_cipher)
{
    struct volume_options options = {
        .key_bits = key_bits, .encrypt_names = true, .name_cipher = name_cipher};
    struct volume *volume = NULL;

    assert_int_equal(F->open(&options, &test_key, 1, &name_key, 1, &volume, NULL), 0);
    return volume;
}

static void
check_key(struct kat_case *c)
{
    uint8_t fekek[FEKEK_LEN], signature[SIGNATURE_LEN];
    char text[2 * SIGNATURE_LEN + 1];

    assert_int_equal(fekek_derive(bytes_str(kat_text(c, "passphrase")), kat_bytes(c, "salt"), fekek,
                                  signature, NULL),
                     COFFER_OK);
    hex_encode(bytes_of(signature, sizeof signature), text);
    assert_string_equal(text, kat_text(c, "sig"));
    kat_assert_equal(c, "fekek", bytes_of(fekek, kat_bytes(c, "fekek").len));
}

static void
keys_and_signatures(void **state)
{
    kat_run("ecryptfs/keys.txt", 5, check_key);
}

static void
check_iv(struct kat_case *c)
{
    uint8_t root[16], iv[16];

    assert_int_equal(extent_root_iv(kat_bytes(c, "fek"), root, NULL), 0);
    kat_assert_equal(c, "root_iv", bytes_of(root, 16));
    assert_int_equal(extent_iv(root, kat_u64(c, "extent"), iv, NULL), 0);
    kat_assert_equal(c, "iv", bytes_of(iv, 16));
}

static void
ivs(void **state)
{
    kat_run("ecryptfs/ivs.txt", 5, check_iv);
}

/* The header from the fixed inputs, then an ordinary write. */
static void
check_file(struct kat_case *c)
{
    unsigned bits = (unsigned)kat_u64(c, "key_bits");
    struct volume *volume = volume_of(bits, NULL);
    struct header header = {.marker = 0x11223344,
                            .flags = FLAG_ENCRYPTED,
                            .extent_len = EXTENT_LEN,
                            .extent_count = 2,
                            .cipher = cipher_of_code(cipher_code_aes(bits))};
    struct memory_lower *m = memory_lower_new();
    struct iovec iov;
    struct volume_file *file = NULL;
    uint8_t digest[32], iv[16];
    char content[5000];
    struct buf raw;

    buf_init(&raw, HEADER_LEN);
    assert_int_equal(volume_seal_header(volume, &header, kat_bytes(c, "fek"), &raw, NULL), 0);
    iov = (struct iovec){raw.ptr, raw.len};
    assert_int_equal(m->lower.ops->write(&m->lower, &iov, 1, 0, false), 0);
    assert_int_equal(m->lower.ops->truncate(&m->lower, HEADER_LEN), 0);
    assert_int_equal(F->file_open(volume, &m->lower, &file, NULL), 0);
    kat_assert_equal(c, "root_iv", bytes_of(file->root_iv, 16));
    assert_int_equal(extent_iv(file->root_iv, 0, iv, NULL), 0);
    kat_assert_equal(c, "iv0", bytes_of(iv, 16));
    assert_int_equal(extent_iv(file->root_iv, 1, iv, NULL), 0);
    kat_assert_equal(c, "iv1", bytes_of(iv, 16));
    memset(content, 'A', sizeof content);
    assert_int_equal(F->file_write(file, content, sizeof content, 0, 0, NULL), 0);
    kat_assert_equal(c, "efek", bytes_of(m->bytes + 41, kat_bytes(c, "efek").len));
    kat_assert_equal(c, "x0", bytes_of(m->bytes + 8192, 16));
    kat_assert_equal(c, "x1", bytes_of(m->bytes + 12288, 16));
    if (kat_has(c, "header"))
        kat_assert_equal(c, "header", bytes_of(m->bytes, 96));
    assert_int_equal(sha256(memory_lower_view(m), digest, NULL), COFFER_OK);
    kat_assert_equal(c, "sha256", bytes_of(digest, 32));
    buf_wipe(&raw);
    F->file_close(file);
    memory_lower_free(m);
    F->close(volume);
}

static void
whole_files_from_fixed_keys(void **state)
{
    kat_run("ecryptfs/files.txt", 3, check_file);
}

static void
check_name_of(struct volume *volume, const char *upper, const char *lower)
{
    char out[VOLUME_NAME_MAX + 1];

    assert_int_equal(F->name_to_lower(volume, bytes_str(upper), out, NULL), 0);
    assert_string_equal(out, lower);
    assert_int_equal(F->name_to_upper(volume, bytes_str(lower), out, NULL), 0);
    assert_string_equal(out, upper);
}

static void
check_name(struct kat_case *c)
{
    struct volume_options options = {.key_bits = 256, .encrypt_names = true, .name_key_bits = 128};
    struct volume *volume = NULL;
    struct volume_key key = {0};

    assert_int_equal(F->key_set(bytes_str("Test"), kat_bytes(c, "salt"), &key, NULL), 0);
    assert_int_equal(F->open(&options, &test_key, 1, &key, 1, &volume, NULL), 0);
    check_name_of(volume, kat_text(c, "upper"), kat_text(c, "lower"));
    F->close(volume);
    secret_free(key.secret);
}

static void
names(void **state)
{
    kat_run("ecryptfs/names.txt", 4, check_name);
}

/* "/abs/" and 300 z: a packet with a length of two bytes. */
static void
a_long_target_has_a_two_byte_length(void **state)
{
    struct volume *volume = volume_of(128, NULL);
    char target[306] = "/abs/";
    struct buf lower, upper;

    memset(target + 5, 'z', 300);
    buf_init(&lower, VOLUME_TARGET_MAX);
    buf_init(&upper, VOLUME_TARGET_MAX);
    assert_int_equal(F->target_to_lower(volume, bytes_str(target), &lower, NULL), 0);
    assert_int_equal(lower.len, 488);
    assert_memory_equal(lower.ptr + 24, "Fg0N", 4); /* 46 c0 99 */
    assert_int_equal(F->target_to_upper(volume, buf_view(&lower), &upper, NULL), 0);
    assert_int_equal(upper.len, 305);
    assert_memory_equal(upper.ptr, target, 305);
    buf_wipe(&lower);
    buf_wipe(&upper);
    F->close(volume);
}

static struct memory_lower *
read_file(const char *name)
{
    struct memory_lower *m = memory_lower_new();
    char path[512];
    uint8_t chunk[4096];
    struct iovec iov = {chunk, 0};
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/ecryptfs/ciphers/%s", KAT_FOLDER, name);
    f = fopen(path, "rb");
    assert_non_null(f);
    while ((iov.iov_len = fread(chunk, 1, sizeof chunk, f)) > 0)
        assert_int_equal(m->lower.ops->write(&m->lower, &iov, 1, m->length, false), 0);
    (void)fclose(f);
    return m;
}

static void
check_target_of(struct volume *volume, const char *upper, const char *lower)
{
    struct buf out;

    buf_init(&out, VOLUME_TARGET_MAX);
    assert_int_equal(F->target_to_lower(volume, bytes_str(upper), &out, NULL), 0);
    assert_string_equal(buf_cstr(&out), lower);
    buf_clear(&out);
    assert_int_equal(F->target_to_upper(volume, bytes_str(lower), &out, NULL), 0);
    assert_string_equal(buf_cstr(&out), upper);
    buf_wipe(&out);
}

static unsigned opened;

static void
check_cipher(struct kat_case *c)
{
    struct volume *volume = volume_of(256, kat_text(c, "cipher"));
    struct memory_lower *m = read_file(kat_text(c, "file"));
    struct volume_file_info info;
    struct volume_file *file = NULL;
    struct coffer_error err = {0};
    char content[5000], expected[4108];
    int rc;

    memcpy(expected, "Hello World\n", 12);
    memset(expected + 12, '.', 4096);
    assert_int_equal(F->file_info(volume, &m->lower, &info, NULL), 0);
    assert_string_equal(info.cipher, kat_text(c, "cipher"));
    assert_string_equal(info.keys[0], "3515cca9baaea1f4");
    assert_int_equal(info.size, sizeof expected);
    kat_assert_equal(c, "efek", bytes_of(m->bytes + 41, kat_bytes(c, "efek").len));
    kat_assert_equal(c, "x0", bytes_of(m->bytes + 8192, 32));
    kat_assert_equal(c, "x1", bytes_of(m->bytes + 12288, 32));

    rc = F->file_open(volume, &m->lower, &file, &err);
    if (rc == -EOPNOTSUPP) {
        assert_null(file);
        assert_non_null(strstr(err.message, "cipher not available"));
        if (strncmp(info.cipher, "cast5", 5) == 0 || strncmp(info.cipher, "blowfish", 8) == 0)
            print_message("%s: %s\n", info.cipher, err.message);
    } else {
        assert_int_equal(rc, 0);
        if (kat_has(c, "root_iv"))
            kat_assert_equal(c, "root_iv", bytes_of(file->root_iv, 16));
        assert_int_equal(F->file_read(file, content, sizeof content, 0, NULL), sizeof expected);
        assert_memory_equal(content, expected, sizeof expected);
        check_name_of(volume, "TestFile", kat_text(c, "name"));
        if (kat_has(c, "link"))
            check_target_of(volume, "../some/where", kat_text(c, "link"));
        if (strncmp(info.cipher, "aes", 3) != 0)
            assert_int_equal(F->file_write(file, "x", 1, 0, 0, &err), -EROFS);
        opened++;
    }
    if (file != NULL)
        F->file_close(file);
    memory_lower_free(m);
    F->close(volume);
}

static void
every_cipher_of_the_kernel(void **state)
{
    opened = 0;
    kat_run("ecryptfs/ciphers.txt", 12, check_cipher);
    assert_true(opened >= 4); /* without OpenSSL's legacy provider; with it eight */
}

/* The two packet pairs that the kernel wrote for keys "Test" and "Second": either opens the file. */
static void
any_of_several_keys_opens_a_file(void **state)
{
    static const char HEADER[] =
        "00000000000000000000000000000000030000020000100000028c1d0407030100112233445566776095029f2c"
        "b50b"
        "e0d93de04be5abb13093ed1662085f434f4e534f4c45000000003515cca9baaea1f48c1d040703010011223344"
        "5566"
        "776081c8a0e20ae3a60e8024ede9ff28894fed1662085f434f4e534f4c450000000066ff59f9eacdc15b00";
    struct volume_options options = {.key_bits = 128};
    struct memory_lower *m;
    struct volume *volume = NULL;
    struct volume_file *one = NULL, *two = NULL;
    struct volume_file_info info;
    uint8_t raw[HEADER_LEN] = {0};
    size_t len;

    assert_true(hex_decode(bytes_str(HEADER), raw, sizeof raw, &len));
    put_be32(raw + 12, 0x3c81b7f5);
    m = memory_lower_of(bytes_of(raw, sizeof raw));
    assert_int_equal(F->open(&options, &test_key, 1, NULL, 0, &volume, NULL), 0);
    assert_int_equal(F->file_info(volume, &m->lower, &info, NULL), 0);
    assert_int_equal(info.key_count, 2);
    assert_string_equal(info.keys[1], "66ff59f9eacdc15b");
    assert_false(F->file_is_current(volume, &info));
    assert_int_equal(F->file_open(volume, &m->lower, &one, NULL), 0);
    assert_int_equal(F->change(volume, &options, &second_key, 1, NULL, 0, NULL), 0);
    assert_int_equal(F->file_open(volume, &m->lower, &two, NULL), 0);
    assert_memory_equal(one->root_iv, two->root_iv, 16);
    F->file_close(one);
    m->closed = false;
    F->file_close(two);
    memory_lower_free(m);
    F->close(volume);
}

static void
check_wrapped(struct kat_case *c)
{
    struct secret *passphrase = NULL;
    struct bytes content = bytes_str(kat_text(c, "content"));

    assert_int_equal(ecryptfs_unwrap(kat_bytes(c, "file"), bytes_str(kat_text(c, "wrapping")),
                                     bytes_str(""), &passphrase, NULL),
                     COFFER_OK);
    assert_true(bytes_equal(secret_expose(passphrase), content));
    secret_free(passphrase);
    assert_int_equal(
        ecryptfs_unwrap(kat_bytes(c, "file"), bytes_str("wrong"), bytes_str(""), &passphrase, NULL),
        COFFER_E_KEK);
    assert_null(passphrase);
}

static void
wrapped_passphrases(void **state)
{
    kat_run("ecryptfs/wrapped.txt", 1, check_wrapped);
}

static int
set_up(void **state)
{
    return F->key_set(bytes_str("Test"), bytes_str(""), &test_key, NULL) |
           F->key_set(bytes_str("Second"), bytes_str(""), &second_key, NULL) |
           F->key_set(bytes_str("Test"), ecryptfs_name_salt(), &name_key, NULL);
}

static int
tear_down(void **state)
{
    secret_free(test_key.secret);
    secret_free(second_key.secret);
    secret_free(name_key.secret);
    return secret_live_count() == 0 ? 0 : -1;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_signatures),
        cmocka_unit_test(ivs),
        cmocka_unit_test(whole_files_from_fixed_keys),
        cmocka_unit_test(names),
        cmocka_unit_test(a_long_target_has_a_two_byte_length),
        cmocka_unit_test(every_cipher_of_the_kernel),
        cmocka_unit_test(any_of_several_keys_opens_a_file),
        cmocka_unit_test(wrapped_passphrases),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
