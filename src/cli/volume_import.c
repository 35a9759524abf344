/* SPDX-License-Identifier: Apache-2.0 */
/* coffer volume import */
#include "cli/events.h"
#include "cli/volume.h"
#include "volume/import.h"

#include <inttypes.h>
#include <string.h>

struct said {
    const struct cli *cli;
    bool bar; /* a line on the terminal that is written over */
};

static void
say(void *arg, const char *step, const char *text)
{
    const struct said *said = arg;

    if (said->cli->json)
        out_json(json_pack("{s:s,s:s}", "step", step, "text", text));
    else
        (void)printf("%-7s %s\n", step, text);
}

static void
progress(void *arg, const struct volume_progress *p)
{
    struct said *said = arg;
    uint64_t done = p->files_done + p->files_skipped;
    char some[32], all[32];

    if (said->cli->json || terminal_width(2) == 0)
        return;
    grouped(done, some);
    grouped(p->files, all);
    (void)fprintf(stderr, "\r\033[K%s of %s files%s", some, all,
                  p->counting ? " (still counting)" : "");
    (void)fflush(stderr);
    said->bar = true;
}

static bool
stop(void *arg)
{
    (void)arg;
    return cli_stop != 0;
}

static void
print_end(const struct cli *cli, const struct volume_import *import, const char *lower)
{
    const struct volume_count *c = &import->count;
    char files[32], size[32];

    if (cli->json) {
        out_json(json_pack("{s:o,s:b,s:I,s:I,s:I,s:I}", "lower", out_path(lower), "imported", 1,
                           "files", (json_int_t)(c->files + c->empty), "bytes",
                           (json_int_t)c->bytes, "names", (json_int_t)c->names, "moved",
                           (json_int_t)import->progress.files_done));
        return;
    }
    grouped(c->files + c->empty, files);
    bytes_text(c->bytes, size);
    (void)printf("%s is a volume of the keyring now: %s file%s, %s.\n"
                 "The passphrase opens nothing in it any more.  Backups from before still open "
                 "with it, and whoever\n"
                 "had it may know keys of single files: coffer volume rotate --reencrypt gives "
                 "each a new one.\n"
                 "Next: coffer volume mount %s MOUNTPOINT\n",
                 lower, files, c->files + c->empty == 1 ? "" : "s", size, lower);
}

static int
run_import(struct cli *cli, struct coffer_error *err)
{
    const struct args *args = cli->args;
    const char *lower = args->words[0];
    struct said said = {.cli = cli};
    struct volume_env env = {.os = cli->os,
                             .who = cli->who,
                             .stop = stop,
                             .say = say,
                             .progress = progress,
                             .arg = &said};
    struct volume_import import = {
        .options = {.encrypt_names = args_flag(args, "encrypt-names"),
                    .xattr_metadata = args_flag(args, "xattr-metadata")}};
    struct secret *passphrase = NULL;
    int rc = parse_cipher(args_text(args, "cipher"), &import.options.key_bits, err);

    if (rc == COFFER_OK)
        rc = cli_passphrase(cli, &passphrase, err);
    if (rc == COFFER_OK)
        rc = cli_store(cli, &env.store, err);
    if (rc == COFFER_OK) {
        cli_catch_signals();
        import.passphrase = secret_expose(passphrase);
        rc = volume_import(&env, lower, &import, err);
    }
    if (said.bar)
        (void)fputs("\r\033[K", stderr);
    if (rc == COFFER_OK)
        print_end(cli, &import, lower);
    secret_free(passphrase);
    file_store_close(env.store);
    return rc;
}

static const struct arg_option options_import[] = {
    {"passphrase-file", "FILE", "its mount passphrase is the first line of FILE"},
    {"wrapped-passphrase", "FILE", "its mount passphrase is in a wrapped-passphrase file"},
    {"wrapping-file", "FILE", "what unwraps that is the first line of FILE; else it is asked for"},
    {"cipher", "aes-256|aes-192|aes-128",
     "of files that are made from now on; without it as those that are there"},
    {"encrypt-names", NULL, "its names are encrypted"},
    {"xattr-metadata", NULL, "metadata of files that are made go into an extended attribute"},
    {NULL, NULL, NULL}};
const struct command command_volume_import = {
    .name = "volume import",
    .synopsis = "--passphrase-file FILE|--wrapped-passphrase FILE [--encrypt-names] LOWER",
    .summary = "bring a folder of eCryptfs under a key of the keyring",
    .details = "The folder must not be mounted, by a kernel neither.  Each file's header is "
               "wrapped under the new key, and "
               "encrypted names are renamed; data is not written again, so that it takes seconds "
               "for thousands of files.  "
               "Ctrl-C stops it; the same command goes on.\n\n"
               "  coffer volume import --passphrase-file pass /home/.secret\n",
    .options = options_import,
    .words_min = 1,
    .words_max = 1,
    .run = run_import,
};
