/* SPDX-License-Identifier: Apache-2.0 */
/* Settings, stores and database URLs, as every sub-command finds them. */
#include "base/mem.h"
#include "cli/api_client.h"
#include "cli/cli.h"
#include "kek/kek_open.h"
#include "volume/fuse/control.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int
cli_settings(struct cli *cli, struct host_settings *out, struct coffer_error *err)
{
    const char *keyring = args_text(cli->args, "keyring"), *kek = args_text(cli->args, "kek");
    struct coffer_error quiet = {0};
    char dir[1024] = "", of_state[1100], its_kek[1100];
    int rc = COFFER_E_MISUSE;

    *out = (struct host_settings){0};
    /* Whatever names a keyring comes before a state folder that only the surroundings name. */
    if (keyring != NULL || args_text(cli->args, "state") == NULL)
        rc = host_settings_find(keyring, kek, false, cli->os, out, err);
    if (rc != COFFER_E_MISUSE || out->keyring[0] != '\0' || keyring != NULL)
        return rc;
    if (cli_state_find(cli, dir, &quiet) != COFFER_OK || dir[0] == '\0')
        return rc;
    (void)snprintf(of_state, sizeof of_state, "%s/keyring/keyring.coffer", dir);
    (void)snprintf(its_kek, sizeof its_kek, "file:%s/keyring/kek.key", dir);
    return host_settings_find(of_state, kek != NULL ? kek : its_kek, false, cli->os, out, err);
}

int
cli_kek(struct cli *cli, const char *uri, struct kek **out, struct coffer_error *err)
{
    return kek_open(uri, cli->os, prompt_secret, NULL, out, err);
}

/* The key file is missing: of a keyring that is there, or before anything was made. */
static int
nothing_there(struct cli *cli, const struct host_settings *settings, struct coffer_error *err)
{
    const char *colon = strchr(settings->kek, ':');
    struct coffer_error ignored = {0};
    uint64_t stamp = 0;

    if (strncmp(settings->kek, "file:", 5) != 0)
        return err->status; /* the message about passphrase: stands */
    if (cli->os->stamp_file(cli->os, settings->keyring, &stamp, &ignored) == COFFER_OK && stamp == 0)
        return error_set(err, COFFER_E_NOTFOUND,
                         "there is neither keyring %s nor key file %s yet. Both are made by: coffer keyring init",
                         settings->keyring, colon + 1);
    return error_set(err, COFFER_E_NOTFOUND,
                     "key file %s, which is to unlock keyring %s, is not there. Bring back your copy of it, or say "
                     "where it is with --kek, kek = \"…\" in coffer.toml, or COFFER_KEK",
                     colon + 1, settings->keyring);
}

int
cli_store(struct cli *cli, struct keyring_store **store, struct coffer_error *err)
{
    struct host_settings settings;
    struct kek *kek = NULL;
    int rc;

    *store = NULL;
    rc = cli_settings(cli, &settings, err);
    if (rc == COFFER_OK)
        rc = cli_kek(cli, settings.kek, &kek, err);
    if (rc == COFFER_E_NOTFOUND)
        rc = nothing_there(cli, &settings, err);
    if (rc == COFFER_OK)
        rc = file_store_open(settings.keyring, kek, cli->os, store, err); /* takes kek */
    return rc;
}

int
cli_keyring(struct cli *cli, struct keyring_store **store, struct keyring **kr, struct coffer_error *err)
{
    int rc = cli_store(cli, store, err);

    *kr = NULL;
    if (rc == COFFER_OK)
        rc = (*store)->load(*store, kr, err);
    if (rc != COFFER_OK) {
        file_store_close(*store);
        *store = NULL;
    }
    return rc;
}

bool
url_has_password(const char *url)
{
    const char *rest = strstr(url, "://");

    if (strncmp(url, "sqlite:", 7) == 0)
        return false;
    if (rest != NULL) {
        size_t authority = strcspn(rest + 3, "/?#");
        const char *at = memrchr(rest + 3, '@', authority);
        const char *colon = at == NULL ? NULL : memchr(rest + 3, ':', (size_t)(at - rest - 3));

        if (colon != NULL && colon + 1 < at)
            return true;
    }
    for (const char *p = url; (p = strcasestr(p, "password")) != NULL; p += 8) {
        const char *after = p + 8 + strspn(p + 8, " ");
        bool begins = p == url || strchr("?& :'", p[-1]) != NULL || (p - url > 3 && strncasecmp(p - 3, "ssl", 3) == 0);

        if (begins && *after == '=')
            return true;
    }
    return false;
}

static int
url_from_file(struct cli *cli, const char *path, struct cli_url *out, struct coffer_error *err)
{
    struct buf content;
    size_t len;
    int rc;

    buf_init(&content, sizeof out->text - 1);
    rc = cli->os->read_file(cli->os, path, sizeof out->text - 1, &content, err);
    if (rc != COFFER_OK)
        goto out;
    len = strcspn(buf_cstr(&content), "\r\n");
    if (len == 0)
        rc = error_set(err, COFFER_E_FORMAT, "%s: the first line should be a database URL; it is empty", path);
    else
        memcpy(out->text, content.ptr, len);
    out->text[len] = '\0';
out:
    buf_wipe(&content);
    return rc;
}

/* The database of coffer.toml, if the word that stands where a URL could is none. */
static int
url_from_settings(struct cli *cli, size_t next, struct host_settings *out, struct coffer_error *err)
{
    const char *word = next < cli->args->word_count ? cli->args->words[next] : "";
    int rc;

    out->database[0] = '\0';
    if (strncmp(word, "sqlite:", 7) == 0 || strncmp(word, "volume:", 7) == 0 || strstr(word, "://") != NULL)
        return COFFER_OK;
    rc = cli_settings(cli, out, err);
    if (rc == COFFER_E_MISUSE) { /* no keyring: said when it is needed */
        out->database[0] = '\0';
        rc = COFFER_OK;
    }
    return rc;
}

int
cli_url(struct cli *cli, size_t *next, struct cli_url *out, struct coffer_error *err)
{
    const char *file = args_text(cli->args, "db-url-file");
    const char *env = args_text(cli->args, "db-url-env");
    const char *text = args_text(cli->args, "db-url");
    struct host_settings settings;
    int rc;

    *out = (struct cli_url){0};
    if ((file != NULL) + (env != NULL) + (text != NULL) > 1)
        return error_set(err, COFFER_E_MISUSE, "give one of --db-url, --db-url-file and --db-url-env");
    if (file != NULL) {
        out->allow_password = true;
        return url_from_file(cli, file, out, err);
    }
    if (env != NULL) {
        text = getenv(env);
        if (text == NULL || *text == '\0')
            return error_set(err, COFFER_E_NOTFOUND, "--db-url-env %s: there is no such environment variable", env);
        out->allow_password = true;
    } else if (text == NULL) {
        rc = url_from_settings(cli, *next, &settings, err);
        if (rc != COFFER_OK)
            return rc;
        out->allow_password = settings.database[0] != '\0';
        if (settings.database[0] != '\0')
            text = settings.database;
        else if (*next >= cli->args->word_count)
            return error_set(err, COFFER_E_MISUSE,
                             "a database is needed: sqlite:PATH or postgresql://…; see `coffer %s --help`",
                             cli->command->name);
        else
            text = cli->args->words[(*next)++];
    }
    if (strlen(text) >= sizeof out->text)
        return error_set(err, COFFER_E_LIMIT, "the database URL is longer than %zu bytes", sizeof out->text - 1);
    if (!out->allow_password && url_has_password(text))
        return error_set(err, COFFER_E_REFUSED,
                         "a password on the command line can be read by every user of this machine.  Use a service or "
                         ".pgpass file, or --db-url-file FILE, or --db-url-env NAME");
    if (strchr(text, ':') == NULL)
        return error_set(err, COFFER_E_MISUSE, "'%s' is no database URL; write sqlite:%s or postgresql://…", text, text);
    memcpy(out->text, text, strlen(text) + 1);
    return COFFER_OK;
}

/* By its path or mount point, however that is written. */
static void
volume_display(const char *url, char *out, size_t max)
{
    const char *path = url + strlen("volume:");
    struct coffer_error quiet = {0};
    json_t *request = json_pack("{s:s}", "command", "status"), *reply = NULL;
    char *absolute = NULL;

    if (request != NULL && volume_control_call(path, request, &reply, &quiet) == COFFER_OK &&
        json_is_string(json_object_get(reply, "lower")))
        (void)snprintf(out, max, "volume:%s", json_string_value(json_object_get(reply, "lower")));
    else
        (void)snprintf(out, max, "volume:%s", (absolute = realpath(path, NULL)) != NULL ? absolute : path);
    free(absolute);
    json_decref(request);
    json_decref(reply);
}

int
cli_known_database(const struct keyring *kr, const char *url, const struct keyring_database **out,
                   struct coffer_error *err)
{
    char shown[DB_NAME_MAX];
    struct uuid id;
    bool by_id = uuid_parse(bytes_str(url), &id);

    if (strncmp(url, "volume:", 7) == 0)
        volume_display(url, shown, sizeof shown);
    else
        db_url_display(url, shown, sizeof shown);
    for (size_t i = 0; i < keyring_database_count(kr); i++) {
        const struct keyring_database *d = keyring_database_at(kr, i);

        if (by_id ? uuid_equal(&d->id, &id) : strcmp(d->name, shown) == 0 || strcmp(d->name, url) == 0) {
            *out = d;
            return COFFER_OK;
        }
    }
    *out = NULL;
    return error_set(err, COFFER_E_NOTFOUND,
                     "this keyring knows no database %s; `coffer keyring show` lists those it knows", shown);
}
