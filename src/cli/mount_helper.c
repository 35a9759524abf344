/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/mount_helper.h"

#include <stdio.h>
#include <string.h>

/* ---- options ---- */

enum kind {
    TO_FLAG,  /* becomes the option `to`; a value is not taken, but for y and n */
    TO_VALUE, /* becomes the option `to` with the value */
    KERNEL,   /* goes to the kernel as it is */
    IGNORED,  /* of mount(8) and systemd, or without a meaning here */
    CIPHER,
    BITS,
    REFUSED, /* `to` says why */
};
static const struct known {
    const char *name;
    enum kind kind;
    const char *to;
} KNOWN[] = {
    {"keyring", TO_VALUE, "--keyring"},
    {"kek", TO_VALUE, "--kek"},
    {"passphrase_file", TO_VALUE, "--passphrase-file"},
    {"passphrase_passwd_file", TO_VALUE, "--passphrase-file"},
    {"wrapped_passphrase", TO_VALUE, "--wrapped-passphrase"},
    {"wrapping_file", TO_VALUE, "--wrapping-file"},
    {"cipher", TO_VALUE, "--cipher"},
    {"encrypt_names", TO_FLAG, "--encrypt-names"},
    {"xattr_metadata", TO_FLAG, "--xattr-metadata"},
    {"plain_passthrough", TO_FLAG, "--plain-passthrough"},
    {"log", TO_VALUE, "--log"},
    {"direct", TO_VALUE, "--direct"},
    {"moved", TO_FLAG, "--moved"},
    {"only_me", TO_FLAG, "--only-me"},
    {"nonempty", TO_FLAG, "--non-empty"},
    {"foreground", TO_FLAG, "--foreground"},
    {"ro", TO_FLAG, "--read-only"},
    /* eCryptfs's */
    {"ecryptfs_sig", TO_VALUE, "--signature"},
    {"sig", TO_VALUE, "--signature"},
    {"ecryptfs_fnek_sig", TO_VALUE, "--name-signature"},
    {"ecryptfs_cipher", CIPHER, NULL},
    {"ecryptfs_key_bytes", BITS, NULL},
    {"ecryptfs_enable_filename_crypto", TO_FLAG, "--encrypt-names"},
    {"ecryptfs_xattr", TO_FLAG, "--xattr-metadata"},
    {"ecryptfs_xattr_metadata", TO_FLAG, "--xattr-metadata"},
    {"ecryptfs_passthrough", TO_FLAG, "--plain-passthrough"},
    {"ecryptfs_unlink_sigs", IGNORED, NULL}, /* no key is in the kernel */
    {"no_sig_cache", IGNORED, NULL},
    {"passphrase_passwd", REFUSED,
     "every user of this machine can read it there: use passphrase_passwd_file=FILE"},
    {"passphrase_passwd_fd", REFUSED, "use passphrase_passwd_file=FILE, which may be a pipe"},
    {"remount", REFUSED, "unmount, and mount again"},
    {"ecryptfs_encrypted_view", REFUSED, "the lower folder itself is that view"},
    {"ecryptfs_hmac", REFUSED, "no kernel has it, and Coffer neither"},
    /* mount(8)'s and systemd's */
    {"allow_other", IGNORED, NULL}, /* it is so unless only_me is there */
    {"default_permissions", IGNORED, NULL},
    {"defaults", IGNORED, NULL},
    {"rw", IGNORED, NULL},
    {"auto", IGNORED, NULL},
    {"noauto", IGNORED, NULL},
    {"nofail", IGNORED, NULL},
    {"user", IGNORED, NULL},
    {"nouser", IGNORED, NULL},
    {"users", IGNORED, NULL},
    {"owner", IGNORED, NULL},
    {"group", IGNORED, NULL},
    {"_netdev", IGNORED, NULL},
    {"comment", IGNORED, NULL},
    {"dev", KERNEL, NULL},
    {"nodev", KERNEL, NULL},
    {"suid", KERNEL, NULL},
    {"nosuid", KERNEL, NULL},
    {"exec", KERNEL, NULL},
    {"noexec", KERNEL, NULL},
    {"atime", KERNEL, NULL},
    {"noatime", KERNEL, NULL},
    {"nodiratime", KERNEL, NULL},
    {"relatime", KERNEL, NULL},
    {"strictatime", KERNEL, NULL},
    {"sync", KERNEL, NULL},
    {"dirsync", KERNEL, NULL},
};

static int
add(struct mount_words *out, const char *word, struct coffer_error *err)
{
    if (out->argc == MOUNT_WORDS_MAX)
        return error_set(err, COFFER_E_MISUSE, "too many options");
    out->argv[out->argc++] = word;
    return COFFER_OK;
}

/* A copy that outlives the options' own text. */
static const char *
keep(struct mount_words *out, const char *text, size_t len)
{
    char *at = out->text + out->used;

    if (len >= sizeof out->text - out->used)
        return NULL;
    memcpy(at, text, len);
    at[len] = '\0';
    out->used += len + 1;
    return at;
}

static const struct known *
find(const char *name)
{
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++)
        if (strcmp(KNOWN[i].name, name) == 0)
            return &KNOWN[i];
    return NULL;
}

static int
take_flag(struct mount_words *out, const struct known *known, const char *value,
          struct coffer_error *err)
{
    if (value == NULL || strcmp(value, "y") == 0 || strcmp(value, "yes") == 0)
        return add(out, known->to, err);
    if (strcmp(value, "n") == 0 || strcmp(value, "no") == 0 || *value == '\0')
        return COFFER_OK;
    return error_set(err, COFFER_E_MISUSE, "mount option %s=%s: y or n", known->name, value);
}

static int
take_value(struct mount_words *out, const struct known *known, const char *value,
           struct coffer_error *err)
{
    int rc;

    if (value == NULL || *value == '\0')
        return error_set(err, COFFER_E_MISUSE, "mount option %s needs a value: %s=…", known->name,
                         known->name);
    rc = add(out, known->to, err);
    if (rc == COFFER_OK)
        rc = add(out, value, err);
    /* A kernel encrypts names as soon as it is told their key. */
    return rc == COFFER_OK && strcmp(known->to, "--name-signature") == 0
               ? add(out, "--encrypt-names", err)
               : rc;
}

static int
take_kernel(struct mount_words *out, const char *name, struct coffer_error *err)
{
    size_t have = strlen(out->kernel);
    int n =
        snprintf(out->kernel + have, sizeof out->kernel - have, "%s%s", have > 0 ? "," : "", name);

    return n < (int)(sizeof out->kernel - have)
               ? COFFER_OK
               : error_set(err, COFFER_E_MISUSE, "too many mount options");
}

static int
take_option(struct mount_words *out, const char *name, const char *value, struct coffer_error *err)
{
    const struct known *known = find(name);

    if (known == NULL && (strncmp(name, "x-", 2) == 0 || strncmp(name, "X-", 2) == 0))
        return COFFER_OK;
    if (known == NULL)
        return error_set(err, COFFER_E_MISUSE,
                         "mount option %s is not known; mount.coffer(8) lists them", name);
    switch (known->kind) {
    case TO_FLAG:
        return take_flag(out, known, value, err);
    case TO_VALUE:
        return take_value(out, known, value, err);
    case KERNEL:
        return take_kernel(out, name, err);
    case CIPHER:
        out->cipher = value != NULL ? value : "";
        return COFFER_OK;
    case BITS:
        out->bits = value != NULL ? value : "";
        return COFFER_OK;
    case REFUSED:
        return error_set(err, COFFER_E_MISUSE, "mount option %s is not taken: %s", name, known->to);
    case IGNORED:
        break;
    }
    return COFFER_OK;
}

/* `key=passphrase:passphrase_passwd_file=F`, as eCryptfs's own helper has it. */
static int
take_key(struct mount_words *out, const char *value, struct coffer_error *err)
{
    static const char TYPE[] = "passphrase";
    const char *rest = value + sizeof TYPE - 1;

    if (strncmp(value, TYPE, sizeof TYPE - 1) != 0 || (*rest != '\0' && *rest != ':'))
        return error_set(err, COFFER_E_MISUSE,
                         "mount option key=%.40s: only key=passphrase is known", value);
    while (*rest == ':') {
        size_t len = strcspn(++rest, ":"), name = strcspn(rest, "=:");
        const char *one = keep(out, rest, name), *set = NULL;
        int rc;

        if (name < len)
            set = keep(out, rest + name + 1, len - name - 1);
        if (one == NULL || (name < len && set == NULL))
            return error_set(err, COFFER_E_MISUSE, "the mount options are too long");
        rc = take_option(out, one, set, err);
        if (rc != COFFER_OK)
            return rc;
        rest += len;
    }
    return COFFER_OK;
}

static int
take_list(struct mount_words *out, const char *list, struct coffer_error *err)
{
    int rc = COFFER_OK;

    while (rc == COFFER_OK && *list != '\0') {
        size_t len = strcspn(list, ","), name = strcspn(list, "=,");
        const char *one = keep(out, list, name), *value = NULL;

        if (name < len)
            value = keep(out, list + name + 1, len - name - 1);
        if (one == NULL || (name < len && value == NULL))
            return error_set(err, COFFER_E_MISUSE, "the mount options are too long");
        if (strcmp(one, "key") == 0 && value != NULL)
            rc = take_key(out, value, err);
        else if (*one != '\0')
            rc = take_option(out, one, value, err);
        list += len + (list[len] == ',');
    }
    return rc;
}

/* eCryptfs says a cipher and the bytes of its key apart. */
static int
end_cipher(struct mount_words *out, struct coffer_error *err)
{
    const char *bits = out->bits == NULL              ? "128" /* as a kernel takes it */
                       : strcmp(out->bits, "16") == 0 ? "128"
                       : strcmp(out->bits, "24") == 0 ? "192"
                       : strcmp(out->bits, "32") == 0 ? "256"
                                                      : NULL;
    char text[16];
    const char *kept;
    int rc;

    if (out->cipher == NULL && out->bits == NULL)
        return COFFER_OK;
    if (out->cipher != NULL && strcmp(out->cipher, "aes") != 0)
        return error_set(err, COFFER_E_MISUSE,
                         "mount option ecryptfs_cipher=%.40s: files are made under aes.  Without "
                         "the option, files of "
                         "other ciphers are read",
                         out->cipher);
    if (bits == NULL)
        return error_set(err, COFFER_E_MISUSE,
                         "mount option ecryptfs_key_bytes=%.40s: 16, 24 or 32", out->bits);
    (void)snprintf(text, sizeof text, "aes-%s", bits);
    kept = keep(out, text, strlen(text));
    rc = add(out, "--cipher", err);
    return rc == COFFER_OK && kept != NULL ? add(out, kept, err) : rc;
}

/* ---- the command line ---- */

bool
mount_helper_name(const char *argv0)
{
    const char *slash = strrchr(argv0, '/');

    return strcmp(slash != NULL ? slash + 1 : argv0, "mount.coffer") == 0;
}

static bool
by_passphrase(const struct mount_words *words)
{
    for (int i = 0; i < words->argc; i++)
        if (strcmp(words->argv[i], "--passphrase-file") == 0 ||
            strcmp(words->argv[i], "--wrapped-passphrase") == 0)
            return true;
    return false;
}

int
mount_helper_words(int argc, const char *const *argv, struct mount_words *out,
                   struct coffer_error *err)
{
    static const char USAGE[] =
        "usage: mount.coffer LOWER MOUNTPOINT [-o OPTIONS]; see mount.coffer(8)";
    const char *places[2] = {NULL, NULL};
    int rc = COFFER_OK, place = 0;

    memset(out, 0, sizeof *out);
    rc = add(out, "coffer", err);
    if (rc == COFFER_OK)
        rc = add(out, "volume", err);
    if (rc == COFFER_OK)
        rc = add(out, "mount", err);
    for (int i = 1; rc == COFFER_OK && i < argc; i++) {
        const char *word = argv[i];

        if (strcmp(word, "-o") == 0 || strcmp(word, "-t") == 0 || strcmp(word, "-N") == 0) {
            if (i + 1 >= argc)
                return error_set(err, COFFER_E_MISUSE, "%s", USAGE);
            i++;
            if (word[1] == 'o')
                rc = take_list(out, argv[i], err);
            else if (word[1] == 'N')
                rc = error_set(err, COFFER_E_MISUSE,
                               "mounting in another namespace (-N) is not done; use nsenter(1)");
        } else if (strncmp(word, "-o", 2) == 0) {
            rc = take_list(out, word + 2, err);
        } else if (word[0] == '-' && word[1] != '\0') {
            /* sloppy, fake, no mtab, verbose.  Fake means: do not. */
            if (strspn(word + 1, "sfnv") != strlen(word + 1))
                return error_set(err, COFFER_E_MISUSE, "unknown option %s; %s", word, USAGE);
            if (strchr(word, 'f') != NULL)
                out->fake = true;
        } else if (place < 2) {
            places[place++] = word;
        } else {
            return error_set(err, COFFER_E_MISUSE, "%s", USAGE);
        }
    }
    if (rc == COFFER_OK && place < 2)
        rc = error_set(err, COFFER_E_MISUSE, "%s", USAGE);
    if (rc == COFFER_OK)
        rc = end_cipher(out, err);
    if (rc == COFFER_OK && by_passphrase(out)) {
        rc = add(out, "--format", err);
        if (rc == COFFER_OK)
            rc = add(out, "ecryptfs", err);
    }
    if (rc == COFFER_OK && out->kernel[0] != '\0') {
        rc = add(out, "--options", err);
        if (rc == COFFER_OK)
            rc = add(out, out->kernel, err);
    }
    for (int i = 0; rc == COFFER_OK && i < 3; i++)
        rc = add(out, i == 0 ? "--" : places[i - 1], err);
    return rc;
}
