/* SPDX-License-Identifier: Apache-2.0 */
/* What the sub-commands share: settings, the keyring store, output, prompts. */
#ifndef COFFER_CLI_CLI_H
#define COFFER_CLI_CLI_H

#include "cli/args.h"
#include "host/host.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>

struct cli {
    const struct args *args;
    const struct command *command;
    const struct os *os;
    bool json;
    bool quiet;  /* a success says nothing: as mount.coffer */
    bool colour; /* stdout is a terminal and NO_COLOR is not set */
    char who[KEYRING_NAME_MAX]; /* user@host */
    /* A command that has printed everything there is to say may end with another code than its status. */
    int exit_code;
};

struct command {
    const char *name;     /* "key list" */
    const char *synopsis; /* after the name */
    const char *summary;
    const char *details;  /* paragraphs and examples for --help */
    const struct arg_option *options;
    const struct arg_option *more_options; /* NULL: none */
    size_t words_min, words_max;
    int (*run)(struct cli *cli, struct coffer_error *err);
};
extern const struct command *const commands[];  /* NULL at the end; in the order of the help */
extern const struct arg_option options_common[]; /* every command takes these */
extern const struct arg_option options_none[];
extern const struct arg_option options_url[];

extern volatile sig_atomic_t cli_stop; /* set by Ctrl-C */
void cli_catch_signals(void);

int exit_code_of(int status);

/* ---- settings and stores (session.c) ---- */

/* The keyring's store, by --keyring and --kek or what stands for them.  `confirm`ing a passphrase is the provider's work. */
COFFER_MUST_CHECK int cli_store(struct cli *cli, struct keyring_store **store, struct coffer_error *err);
COFFER_MUST_CHECK int cli_keyring(struct cli *cli, struct keyring_store **store, struct keyring **kr,
                                  struct coffer_error *err);
COFFER_MUST_CHECK int cli_settings(struct cli *cli, struct host_settings *out, struct coffer_error *err);
/* A provider by URI, asking on the terminal where it must. */
COFFER_MUST_CHECK int cli_kek(struct cli *cli, const char *uri, struct kek **out, struct coffer_error *err);

/* The database: --db-url, --db-url-file, --db-url-env, else word `*next`, which is then moved on, else that of coffer.toml. */
struct cli_url {
    char text[2048];
    bool allow_password;
};
COFFER_MUST_CHECK int cli_url(struct cli *cli, size_t *next, struct cli_url *out, struct coffer_error *err);
bool url_has_password(const char *url);
/* Its record in the keyring, by the URL (without connecting) or by the id in `text`. */
COFFER_MUST_CHECK int cli_known_database(const struct keyring *kr, const char *url,
                                         const struct keyring_database **out, struct coffer_error *err);

/* ---- terminal (prompt.c) ---- */

int prompt_secret(void *arg, const char *question, bool confirm, struct secret **out, struct coffer_error *err);
bool prompt_yes(const char *question); /* false when there is no terminal */

/* ---- output (out.c, table.c) ---- */

/* Print and release.  Line buffered; LOST pipes are noticed at exit. */
void out_json(json_t *value);
void out_error(const struct cli *cli, const struct coffer_error *err);
const char *key_hex(uint32_t id, char out[9]);
void time_text(int64_t us, char out[32]); /* "2026-11-24 06:00:00Z", "-" for 0 */
json_t *out_time(int64_t us);            /* ISO 8601, or null */
json_t *out_key(uint32_t id);            /* "8 hex", or null for 0 */
json_t *out_uuid(const struct uuid *id);

/* Short aligned columns.  Cells are copied.  A heading that begins with '>' is set flush right. */
struct table;
struct table *table_new(const char *const *headings, size_t columns); /* NULL out of memory */
void table_row(struct table *table, const char *const *cells);
void table_print(const struct table *table, FILE *to, bool colour);
void table_free(struct table *table);
size_t text_width(const char *text); /* columns on a terminal: code points, wide ones twice */

/* A paragraph that begins in column `indent`, broken at spaces to fit `width` columns (0: not broken), with its line end. */
void print_wrapped(FILE *to, const char *text, size_t indent, size_t width);
size_t terminal_width(int fd); /* 0: no terminal */

/* One field of PostgreSQL's CSV: quoted when it must be; an empty string is "" (NULL is nothing). */
void csv_field(struct buf *out, struct bytes text);

#endif
