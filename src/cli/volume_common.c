/* SPDX-License-Identifier: Apache-2.0 */
/* What the volume commands share. */
#include "cli/volume.h"

#include "base/mem.h"
#include "volume/ecryptfs/ecryptfs.h"
#include "volume/fuse/mount.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct arg_option options_passphrase[] = {
    {"format", "ecryptfs", "a folder of eCryptfs that is in no keyring; with one of the next two"},
    {"passphrase-file", "FILE", "its mount passphrase is the first line of FILE"},
    {"wrapped-passphrase", "FILE", "its mount passphrase is in a wrapped-passphrase file"},
    {"wrapping-file", "FILE", "what unwraps that is the first line of FILE; else it is asked for"},
    {"signature", "HEX", "refuse any other key than this (ecryptfs_sig)"},
    {"name-signature", "HEX", "refuse any other key of names than this (ecryptfs_fnek_sig)"},
    {"cipher", "aes-256|aes-192|aes-128",
     "of files that are made; without it as those that are there"},
    {"encrypt-names", NULL, "names are encrypted, too"},
    {"xattr-metadata", NULL, "metadata of files that are made go into an extended attribute"},
    {"plain-passthrough", NULL, "show files that are not encrypted as they are, read only"},
    {NULL, NULL, NULL}};

bool
volume_by_passphrase(const struct cli *cli)
{
    return args_text(cli->args, "passphrase-file") != NULL ||
           args_text(cli->args, "wrapped-passphrase") != NULL ||
           args_text(cli->args, "format") != NULL;
}

int
parse_cipher(const char *text, unsigned *bits, struct coffer_error *err)
{
    *bits = text == NULL                   ? 0
            : strcmp(text, "aes-256") == 0 ? 256
            : strcmp(text, "aes-192") == 0 ? 192
            : strcmp(text, "aes-128") == 0 ? 128
                                           : 1;
    if (*bits == 1)
        return error_set(err, COFFER_E_MISUSE,
                         "--cipher %s: files are made under aes-256, aes-192 or aes-128", text);
    return COFFER_OK;
}

/* ---- passphrases ---- */

/* The first line.  eCryptfs's own files of this kind have a name before it. */
static int
first_line(struct cli *cli, const char *path, struct secret **out, struct coffer_error *err)
{
    static const char NAME[] = "passphrase_passwd=";
    struct secret *file = NULL;
    struct bytes text;
    const uint8_t *end;
    int rc = cli->os->read_secret(cli->os, path, 1024, &file, err);

    if (rc != COFFER_OK)
        return rc;
    text = secret_expose(file);
    end = memchr(text.ptr, '\n', text.len);
    if (end != NULL)
        text.len = (size_t)(end - text.ptr);
    if (text.len > 0 && text.ptr[text.len - 1] == '\r')
        text.len--;
    if (text.len > sizeof NAME - 1 && memcmp(text.ptr, NAME, sizeof NAME - 1) == 0)
        text = bytes_of(text.ptr + sizeof NAME - 1, text.len - (sizeof NAME - 1));
    if (text.len == 0)
        rc = error_set(err, COFFER_E_FORMAT,
                       "%s: the first line should be a passphrase; it is empty", path);
    else if (text.len > ECRYPTFS_PASSPHRASE_MAX)
        rc = error_set(err, COFFER_E_LIMIT,
                       "%s: eCryptfs takes passphrases of at most %d bytes; this has %zu", path,
                       ECRYPTFS_PASSPHRASE_MAX, text.len);
    else
        rc = secret_copy(text, out, err);
    secret_free(file);
    return rc;
}

int
cli_wrapping(struct cli *cli, const char *question, bool confirm, struct secret **out,
             struct coffer_error *err)
{
    const char *file = args_text(cli->args, "wrapping-file");
    int rc;

    *out = NULL;
    if (file != NULL)
        return first_line(cli, file, out, err);
    rc = prompt_secret(NULL, question, confirm, out, err);
    if (rc == COFFER_E_REFUSED)
        rc = error_set(
            err, rc,
            "there is no terminal to ask for the wrapping passphrase; use --wrapping-file");
    return rc;
}

static int
unwrap(struct cli *cli, const char *path, struct secret **out, struct coffer_error *err)
{
    struct secret *wrapping = NULL;
    char question[200];
    struct buf file;
    int rc;

    (void)snprintf(question, sizeof question, "Passphrase that unwraps %.150s:", path);
    buf_init(&file, ECRYPTFS_WRAPPED_MAX);
    rc = cli->os->read_file(cli->os, path, ECRYPTFS_WRAPPED_MAX, &file, err);
    if (rc == COFFER_OK)
        rc = cli_wrapping(cli, question, false, &wrapping, err);
    if (rc == COFFER_OK) {
        rc = ecryptfs_unwrap(buf_view(&file), secret_expose(wrapping), (struct bytes){0}, out, err);
        if (rc != COFFER_OK)
            rc = error_prefix(err, "%s: ", path);
    }
    secret_free(wrapping);
    buf_wipe(&file);
    return rc;
}

int
cli_passphrase(struct cli *cli, struct secret **out, struct coffer_error *err)
{
    const char *format = args_text(cli->args, "format");
    const char *plain = args_text(cli->args, "passphrase-file");
    const char *wrapped = args_text(cli->args, "wrapped-passphrase");

    *out = NULL;
    if (format != NULL && strcmp(format, volume_ecryptfs.name) != 0)
        return error_set(err, COFFER_E_MISUSE, "--format %s: the only format is ecryptfs", format);
    if ((plain != NULL) == (wrapped != NULL))
        return error_set(err, COFFER_E_MISUSE, "give %s --passphrase-file and --wrapped-passphrase",
                         plain != NULL ? "one of" : "--format ecryptfs one of");
    if (wrapped == NULL && args_text(cli->args, "wrapping-file") != NULL)
        return error_set(err, COFFER_E_MISUSE, "--wrapping-file goes with --wrapped-passphrase");
    return plain != NULL ? first_line(cli, plain, out, err) : unwrap(cli, wrapped, out, err);
}

/* ---- opening ---- */

int
cli_store_absolute(struct cli *cli, struct keyring_store **store, struct coffer_error *err)
{
    struct host_settings settings;
    struct kek *kek = NULL;
    char *path;
    int rc = cli_settings(cli, &settings, err);

    *store = NULL;
    if (rc != COFFER_OK)
        return rc;
    path = realpath(settings.keyring, NULL);
    if (path == NULL || strlen(path) >= sizeof settings.keyring)
        rc = error_set(err, COFFER_E_NOTFOUND, "there is no keyring %s", settings.keyring);
    if (rc == COFFER_OK)
        rc = cli_kek(cli, settings.kek, &kek, err);
    if (rc == COFFER_OK)
        rc = file_store_open(path, kek, cli->os, store, err); /* takes kek */
    free(path);
    return rc;
}

static int
setup_by_passphrase(struct cli *cli, const char *lower, struct cli_volume *out,
                    struct coffer_error *err)
{
    const struct args *args = cli->args;
    struct volume_options options = {.encrypt_names = args_flag(args, "encrypt-names"),
                                     .xattr_metadata = args_flag(args, "xattr-metadata"),
                                     .plain_passthrough = args_flag(args, "plain-passthrough")};
    struct secret *passphrase = NULL;
    int rc = parse_cipher(args_text(args, "cipher"), &options.key_bits, err);

    if (rc == COFFER_OK)
        rc = cli_passphrase(cli, &passphrase, err);
    if (rc == COFFER_OK)
        rc = volume_setup_passphrase(lower, &volume_ecryptfs, secret_expose(passphrase),
                                     (struct bytes){0}, &options, &out->setup, err);
    secret_free(passphrase);
    return rc;
}

/* A volume of a keyring says itself how it is; what the options say must agree. */
static int
check_agrees(struct cli *cli, const struct volume_options *is, struct coffer_error *err)
{
    const struct args *args = cli->args;
    const char *cipher = args_text(args, "cipher");
    unsigned bits;
    int rc = parse_cipher(cipher, &bits, err);

    if (rc != COFFER_OK)
        return rc;
    if (bits != 0 && bits != is->key_bits)
        return error_set(
            err, COFFER_E_REFUSED,
            "the volume is under aes-%u, not %s; coffer volume rotate --reencrypt changes it",
            is->key_bits, cipher);
    if (args_flag(args, "encrypt-names") && !is->encrypt_names)
        return error_set(err, COFFER_E_REFUSED,
                         "names of the volume are not encrypted; coffer volume rotate changes it");
    if (args_flag(args, "xattr-metadata") && !is->xattr_metadata)
        return error_set(
            err, COFFER_E_REFUSED,
            "the volume's metadata are in headers: --xattr-metadata is for --format ecryptfs");
    return COFFER_OK;
}

static int
setup_by_keyring(struct cli *cli, const char *lower, bool moved, struct cli_volume *out,
                 struct coffer_error *err)
{
    int rc;

    if (args_text(cli->args, "wrapping-file") != NULL)
        return error_set(err, COFFER_E_MISUSE, "--wrapping-file goes with --wrapped-passphrase");
    rc = cli_store_absolute(cli, &out->store, err);
    if (rc == COFFER_OK)
        rc = out->store->load(out->store, &out->keyring, err);
    if (rc == COFFER_OK)
        rc = volume_setup_load(lower, out->keyring, moved, &out->setup, err);
    if (rc == COFFER_OK)
        rc = check_agrees(cli, &out->setup.options, err);
    out->setup.options.plain_passthrough = args_flag(cli->args, "plain-passthrough");
    return rc;
}

/* What fstab or a script believes the key to be, which shows a mistake even where there is no file yet. */
static int
check_signatures(const struct cli *cli, const struct volume_setup *setup, struct coffer_error *err)
{
    const char *file = args_text(cli->args, "signature"),
               *name = args_text(cli->args, "name-signature");
    const char *is = setup->keys.keys[0].name;
    const char *names_is = setup->names.count > 0 ? setup->names.keys[0].name : is;

    if (file != NULL && strcasecmp(file, is) != 0)
        return error_set(err, COFFER_E_KEY, "the key is %s, not %s as --signature has it", is,
                         file);
    if (name != NULL && strcasecmp(name, names_is) != 0)
        return error_set(err, COFFER_E_KEY,
                         "the key of names is %s, not %s as --name-signature has it", names_is,
                         name);
    return COFFER_OK;
}

int
cli_volume_setup(struct cli *cli, const char *lower, bool moved, struct cli_volume *out,
                 struct coffer_error *err)
{
    int rc;

    *out = (struct cli_volume){.lock = -1};
    rc = volume_by_passphrase(cli) ? setup_by_passphrase(cli, lower, out, err)
                                   : setup_by_keyring(cli, lower, moved, out, err);
    if (rc == COFFER_OK)
        rc = check_signatures(cli, &out->setup, err);
    if (rc != COFFER_OK)
        cli_volume_close(out);
    return rc;
}

int
cli_volume_open(struct cli *cli, const char *lower, bool look_only, struct cli_volume *out,
                struct coffer_error *err)
{
    int rc = cli_volume_setup(cli, lower, args_flag(cli->args, "moved"), out, err);

    if (rc != COFFER_OK)
        return rc;
    rc = volume_lower_lock(out->setup.lower, &out->lock, err);
    if (rc == COFFER_OK)
        rc = volume_lower_crashed(out->setup.lower, &out->setup.options.after_crash, err);
    if (rc == COFFER_OK)
        rc = volume_setup_open(&out->setup, &out->volume, err);
    if (rc == COFFER_OK && !look_only)
        rc = volume_recover(out->setup.lower, out->setup.format, out->volume, err);
    if (rc != COFFER_OK)
        cli_volume_close(out);
    return rc;
}

void
cli_volume_close(struct cli_volume *volume)
{
    if (volume->volume != NULL)
        volume->setup.format->close(volume->volume);
    volume_setup_close(&volume->setup);
    keyring_free(volume->keyring);
    file_store_close(volume->store);
    if (volume->lock >= 0)
        close(volume->lock);
    *volume = (struct cli_volume){.lock = -1};
}

/* ---- output ---- */

void
path_text(const char *bytes, char *out, size_t max)
{
    size_t at = 0;

    while (*bytes != '\0' && at + 5 < max) {
        const uint8_t *p = (const uint8_t *)bytes;
        size_t len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

        if (strnlen(bytes, len) < len || !utf8_valid(bytes_of(bytes, len)) || p[0] < 0x20 ||
            p[0] == 0x7f) {
            out[at++] = '?';
            bytes++;
            continue;
        }
        memcpy(out + at, bytes, len);
        at += len;
        bytes += len;
    }
    out[at] = '\0';
}

json_t *
out_path(const char *bytes)
{
    char text[VOLUME_PATH_MAX + 8];
    json_t *value = json_string(bytes);

    if (value != NULL)
        return value;
    path_text(bytes, text, sizeof text);
    return json_string(text);
}

void
bytes_text(uint64_t n, char out[32])
{
    static const char *const UNITS[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double value = (double)n;
    size_t unit = 0;

    while (value >= 999.5 && unit + 1 < sizeof UNITS / sizeof UNITS[0]) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(out, 32, unit == 0 || value >= 99.5 ? "%.0f %s" : "%.1f %s", value, UNITS[unit]);
}
