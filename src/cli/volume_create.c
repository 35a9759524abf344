/* SPDX-License-Identifier: Apache-2.0 */
/* coffer volume create */
#include "cli/volume.h"

#include <string.h>

static int
run_create(struct cli *cli, struct coffer_error *err)
{
    const char *lower = cli->args->words[0];
    struct volume_options options = {.encrypt_names = args_flag(cli->args, "encrypt-names")};
    struct volume_env env = {.os = cli->os, .who = cli->who};
    int rc = parse_cipher(args_text(cli->args, "cipher"), &options.key_bits, err);

    if (rc == COFFER_OK && options.key_bits == 0)
        options.key_bits = 256;
    if (rc == COFFER_OK)
        rc = cli_store(cli, &env.store, err);
    if (rc == COFFER_OK)
        rc = volume_create(&env, lower, &options, err);
    file_store_close(env.store);
    if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:o,s:s,s:i,s:b}", "lower", out_path(lower), "format",
                           volume_ecryptfs.name, "key_bits", (int)options.key_bits, "encrypt_names",
                           (int)options.encrypt_names));
    else if (rc == COFFER_OK)
        (void)printf("Made a volume of %s: files under AES-%u, names %s.\nNext: coffer volume "
                     "mount %s MOUNTPOINT\n",
                     lower, options.key_bits, options.encrypt_names ? "encrypted" : "as they are",
                     lower);
    return rc;
}

static const struct arg_option options_create[] = {
    {"cipher", "aes-256|aes-192|aes-128", "aes-256 unless this says otherwise"},
    {"encrypt-names", NULL,
     "encrypt names of files and folders and targets of links, too (at most 143 bytes each)"},
    {NULL, NULL, NULL}};
const struct command command_volume_create = {
    .name = "volume create",
    .synopsis = "[--cipher aes-256|aes-192|aes-128] [--encrypt-names] LOWER",
    .summary = "make a volume of an empty folder",
    .details = "LOWER is where the encrypted files will be; its key is in the keyring.  Files come "
               "in through the mount.  "
               "For a folder that eCryptfs wrote see `coffer volume import`.\n\n"
               "  coffer volume create /srv/pg.coffer\n"
               "  coffer volume mount /srv/pg.coffer /srv/pg\n",
    .options = options_create,
    .words_min = 1,
    .words_max = 1,
    .run = run_create,
};
