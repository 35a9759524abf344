/* SPDX-License-Identifier: Apache-2.0 */
/* coffer volume rotate|prove */
#include "cli/events.h"
#include "cli/volume.h"
#include "volume/fuse/control.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define LINE_EVERY_MS 5000

struct show {
    struct cli *cli;
    bool terminal, bar_shown;
    int64_t line_ms;
    enum volume_work work;
};

/* ---- what is said ---- */

static void
bar_clear(struct show *show)
{
    if (show->bar_shown)
        (void)fputs("\r\033[K", stderr);
    show->bar_shown = false;
}

static void
on_say(void *arg, const char *step, const char *text)
{
    struct show *show = arg;
    bool colour = show->cli->colour && strcmp(step, "damage") == 0;

    if (show->cli->json) {
        out_json(json_pack("{s:s,s:s,s:s?}", "event", strcmp(step, "wait") == 0 ? "wait" : "step",
                           "step", step, "text", text));
        return;
    }
    bar_clear(show);
    (void)printf("%s%-8s%s ", colour ? "\033[33m" : "", step, colour ? "\033[0m" : "");
    print_wrapped(stdout, text, 9, terminal_width(STDOUT_FILENO));
    (void)fflush(stdout);
}

static void
progress_json(const struct volume_progress *p)
{
    out_json(json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:b,s:b}", "event", "progress",
                       "step", "drain", "files", (json_int_t)p->files, "files_done",
                       (json_int_t)(p->files_done + p->files_skipped), "bytes",
                       (json_int_t)p->bytes, "bytes_done", (json_int_t)p->bytes_done, "names",
                       (json_int_t)p->names, "names_done", (json_int_t)p->names_done, "failed",
                       (json_int_t)p->failed, "bytes_per_second", p->rate, "seconds_left",
                       p->seconds_left, "counting", (int)p->counting, "paused", (int)p->paused));
}

static void
on_progress(void *arg, const struct volume_progress *p)
{
    struct show *show = arg;
    int64_t now = show->cli->os->monotonic_ms(show->cli->os);
    uint64_t files = p->files_done + p->files_skipped;
    uint64_t total = p->bytes > 0 ? p->bytes : p->files,
             done = p->bytes > 0 ? p->bytes_done : files;
    char text[256], left[40], count[32], bar[44] = "";
    unsigned percent = total == 0      ? 0
                       : done >= total ? 100
                                       : (unsigned)((double)done * 100.0 / (double)total);

    if (show->cli->json) {
        progress_json(p);
        return;
    }
    if (!show->terminal &&
        (p->ended || (show->line_ms != 0 && now - show->line_ms < LINE_EVERY_MS)))
        return;
    grouped(files, count);
    time_left_text(p->seconds_left, left, sizeof left);
    if (show->terminal && terminal_width(STDERR_FILENO) > 70) {
        memset(bar, '.', 20);
        memset(bar, '#', percent / 5);
        bar[20] = '\0';
    }
    if (p->counting)
        (void)snprintf(text, sizeof text, "counting: %" PRIu64 " files, %.1f MB", p->files,
                       (double)p->bytes / 1e6);
    else if (show->work == VOLUME_REWRAP)
        (void)snprintf(text, sizeof text, "%s%s%s%3u%%  %s files%s%s", bar[0] != '\0' ? "[" : "",
                       bar, bar[0] != '\0' ? "] " : "", percent, count, left,
                       p->paused ? "  paused" : "");
    else
        (void)snprintf(text, sizeof text, "%s%s%s%3u%%  %s files  %.1f MB  %.1f MB/s%s%s",
                       bar[0] != '\0' ? "[" : "", bar, bar[0] != '\0' ? "] " : "", percent, count,
                       (double)p->bytes_done / 1e6, p->rate / 1e6, left,
                       p->paused ? "  paused" : "");
    if (show->terminal) {
        (void)fprintf(stderr, "\r\033[K%-8s %s", "drain", text);
        (void)fflush(stderr);
        show->bar_shown = true;
    } else {
        (void)printf("%-8s %s\n", "drain", text);
        (void)fflush(stdout);
    }
    show->line_ms = now == 0 ? 1 : now;
}

static bool
on_stop(void *arg)
{
    (void)arg;
    return cli_stop != 0;
}

/* ---- what is asked for ---- */

static int
take_pace(const struct args *args, struct volume_pace *pace, struct coffer_error *err)
{
    double rate = 0;
    int rc = COFFER_OK;

    if (args_text(args, "rate") != NULL)
        rc = parse_number("rate", args_text(args, "rate"), 0.001, 1e6, &rate, err);
    pace->bytes_per_second = rate * 1e6;
    if (rc == COFFER_OK && args_text(args, "duty") != NULL)
        rc = parse_number("duty", args_text(args, "duty"), 0.01, 1, &pace->duty, err);
    if (rc == COFFER_OK && args_text(args, "latency-max") != NULL)
        rc = parse_number("latency-max", args_text(args, "latency-max"), 1, 1000,
                          &pace->latency_ratio, err);
    return rc;
}

static int
take_options(const struct cli *cli, struct volume_rotate_options *out, struct coffer_error *err)
{
    const struct args *args = cli->args;
    const char *cipher = args_text(args, "cipher");
    bool encrypt = args_flag(args, "encrypt-names"), plain = args_flag(args, "plain-names");
    int rc;

    if (args_flag(args, "rewrap") && args_flag(args, "reencrypt"))
        return error_set(err, COFFER_E_MISUSE, "give one of --rewrap and --reencrypt");
    if (encrypt && plain)
        return error_set(err, COFFER_E_MISUSE, "give one of --encrypt-names and --plain-names");
    out->work = args_flag(args, "rewrap")      ? VOLUME_REWRAP
                : args_flag(args, "reencrypt") ? VOLUME_REENCRYPT
                                               : 0;
    out->encrypt_names = encrypt ? 1 : plain ? 0 : -1;
    out->no_wait = args_flag(args, "no-wait");
    out->plan_only = args_flag(args, "plan");
    out->abort = args_flag(args, "abort");
    rc = parse_cipher(cipher, &out->key_bits, err);
    return rc == COFFER_OK ? take_pace(args, &out->pace, err) : rc;
}

/* ---- steering a walk in a mount ---- */

static int
steer(struct cli *cli, const char *command, const struct volume_pace *pace,
      struct coffer_error *err)
{
    const char *path = cli->args->words[0];
    json_t *request =
        json_pack("{s:s,s:{s:f,s:f,s:f}}", "command", command, "pace", "bytes_per_second",
                  pace->bytes_per_second, "duty", pace->duty, "latency_ratio", pace->latency_ratio);
    json_t *reply = NULL;
    int rc = request == NULL ? error_nomem(err) : volume_control_call(path, request, &reply, err);

    json_decref(request);
    json_decref(reply);
    if (rc == COFFER_E_NOTFOUND)
        (void)error_prefix(err,
                           "--%s steers the walk of a mounted volume (elsewhere Ctrl-C stops it, "
                           "and the same command goes "
                           "on): ",
                           command);
    if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:{s:s,s:b}}", "result", "command", command, "ok", 1));
    else if (rc == COFFER_OK)
        (void)printf("%s\n", strcmp(command, "pause") == 0    ? "Paused.  Go on with --resume."
                             : strcmp(command, "resume") == 0 ? "The walk goes on."
                                                              : "The walk has its new pace.");
    return rc;
}

static int
env_open(struct cli *cli, struct show *show, struct volume_env *env, struct coffer_error *err)
{
    *show = (struct show){.cli = cli,
                          .terminal = !cli->json && isatty(STDERR_FILENO) && isatty(STDOUT_FILENO)};
    *env = (struct volume_env){.os = cli->os,
                               .who = cli->who,
                               .stop = on_stop,
                               .say = on_say,
                               .progress = on_progress,
                               .arg = show};
    cli_catch_signals();
    return cli_store(cli, &env->store, err);
}

static int
run_volume_rotate(struct cli *cli, struct coffer_error *err)
{
    const struct args *args = cli->args;
    struct volume_rotate_options options = {0};
    struct volume_env env;
    struct show show;
    int rc;

    if (args_flag(args, "pause") + args_flag(args, "resume") + args_flag(args, "throttle") +
            args_flag(args, "abort") + args_flag(args, "plan") >
        1)
        return error_set(err, COFFER_E_MISUSE,
                         "give one of --plan, --pause, --resume, --throttle and --abort");
    rc = take_options(cli, &options, err);
    if (rc != COFFER_OK)
        return rc;
    if (args_flag(args, "pause") || args_flag(args, "resume"))
        return steer(cli, args_flag(args, "pause") ? "pause" : "resume", &options.pace, err);
    if (args_flag(args, "throttle"))
        return steer(cli, "throttle", &options.pace, err);
    rc = env_open(cli, &show, &env, err);
    show.work = options.work;
    if (rc == COFFER_OK)
        rc = volume_rotate(&env, args->words[0], &options, err);
    bar_clear(&show);
    file_store_close(env.store);
    if (rc == COFFER_E_CANCELLED && cli_stop)
        (void)fputs("coffer: everything written so far is right\n", stderr);
    if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:{s:s,s:b}}", "result", "command", "volume rotate", "ok", 1));
    return rc;
}

static const struct arg_option options_rotate[] = {
    {"rewrap", NULL, "the key of the headers alone: every header is written anew, no data"},
    {"reencrypt", NULL, "every file is written anew under a file key of its own"},
    {"cipher", "aes-N", "with --reencrypt: to aes-256, aes-192 or aes-128"},
    {"encrypt-names", NULL, "names and link targets become encrypted"},
    {"plain-names", NULL, "names and link targets become readable"},
    {"rate", "MB/S", "at most so many megabytes a second"},
    {"duty", "SHARE",
     "share of the time that may be spent working, 0.01 to 1 (0.25 while mounted)"},
    {"latency-max", "RATIO",
     "while mounted: slow down when a sync takes RATIO times its best (1.5)"},
    {"plan", NULL, "say what would be done; change nothing"},
    {"abort", NULL, "back to the former key and form (before the fence)"},
    {"pause", NULL, "halt the walk of a mounted volume"},
    {"resume", NULL, "let it go on"},
    {"throttle", NULL, "give it another --rate, --duty, --latency-max"},
    {NULL, NULL, NULL}};
const struct command command_volume_rotate = {
    .name = "volume rotate",
    .synopsis = "LOWER|MNT --rewrap|--reencrypt [--plan|--abort|--pause|--resume|--throttle]",
    .summary = "change the key of a volume, mounted or not",
    .details = "Makes a new key, moves every file and name to it, proves that nothing is under the "
               "former one, and\n"
               "moves that to escrow for backups.  Mounted: the mount does it while the volume is "
               "used; Ctrl-C\n"
               "ends the waiting alone.  Not mounted: it is done here.  May be stopped at any "
               "instant; the\n"
               "same command goes on.\n\n"
               "  coffer volume rotate --rewrap /srv/db\n"
               "  coffer volume rotate --reencrypt --cipher aes-256 --rate 50 /srv/db\n"
               "  coffer volume rotate --pause /srv/db\n",
    .options = options_rotate,
    .words_min = 1,
    .words_max = 1,
    .run = run_volume_rotate,
};

static int
run_volume_prove(struct cli *cli, struct coffer_error *err)
{
    const char *out = args_text(cli->args, "out");
    struct volume_count count;
    struct volume_env env;
    struct show show;
    struct buf certificate;
    uint32_t id = 0;
    int rc = parse_key_id(cli->args->words[1], &id, err);

    buf_init(&certificate, 16u << 20);
    if (rc == COFFER_OK)
        rc = env_open(cli, &show, &env, err);
    if (rc != COFFER_OK)
        return rc;
    rc = volume_prove(&env, cli->args->words[0], id, &count, &certificate, err);
    if (rc == COFFER_OK && out != NULL)
        rc = cli->os->write_file(cli->os, out, buf_view(&certificate), 0644, false, err);
    file_store_close(env.store);
    if (rc == COFFER_OK && out == NULL)
        (void)fwrite(certificate.ptr, 1, certificate.len, stdout);
    else if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:o,s:s,s:I}", "proven", out_key(id), "certificate", out, "files",
                           (json_int_t)count.files));
    else if (rc == COFFER_OK)
        (void)printf("Proven: nothing is under key %08x.  The signed certificate is in %s.\n",
                     (unsigned)id, out);
    buf_wipe(&certificate);
    return rc;
}

static const struct arg_option options_prove[] = {
    {"out", "FILE", "where the certificate goes (standard output)"}, {NULL, NULL, NULL}};
const struct command command_volume_prove = {
    .name = "volume prove",
    .synopsis = "LOWER|MNT KEY [--out FILE]",
    .summary = "certify that nothing of a volume is under a key",
    .details = "Looks at every file, hidden file and name.  coffer prove --verify checks the "
               "certificate.\n\n"
               "  coffer volume prove /srv/db 1f2e3d4c --out cert.json\n",
    .options = options_prove,
    .words_min = 2,
    .words_max = 2,
    .run = run_volume_prove,
};
