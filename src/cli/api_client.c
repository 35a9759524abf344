/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/api_client.h"
#include "base/mem.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define REPLY_MAX (64u << 20)

const struct arg_option options_state_only[] = {{NULL, NULL, NULL}};

int
cli_state_find(struct cli *cli, char dir[1024], struct coffer_error *err)
{
    const char *option = args_text(cli->args, "state");

    if (option == NULL)
        return host_settings_state(cli->os, dir, err);
    if (*option == '\0' || strlen(option) >= 1024)
        return error_set(err, COFFER_E_MISUSE, "--state names a folder of at most 1023 bytes");
    memcpy(dir, option, strlen(option) + 1);
    return COFFER_OK;
}

int
cli_state(struct cli *cli, char dir[1024], struct coffer_error *err)
{
    int rc = cli_state_find(cli, dir, err);

    if (rc == COFFER_OK && dir[0] == '\0')
        rc = error_set(err, COFFER_E_MISUSE,
                       "no state folder given: use --state DIR, or state = \"…\" in coffer.toml, or COFFER_STATE");
    return rc;
}

static size_t
take_reply(char *data, size_t size, size_t count, void *arg)
{
    struct buf *reply = arg;

    buf_add(reply, data, size * count);
    return reply->failed == 0 ? size * count : 0;
}

/* A socket's path has at most 107 bytes; a longer one goes by the folder's descriptor. */
static int
socket_path(const char *dir, char *out, size_t max, int *folder)
{
    *folder = -1;
    if (strlen(dir) + sizeof "/coffer.sock" <= sizeof((struct sockaddr_un *)0)->sun_path) {
        (void)snprintf(out, max, "%s/coffer.sock", dir);
        return COFFER_OK;
    }
    *folder = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    (void)snprintf(out, max, "/proc/self/fd/%d/coffer.sock", *folder);
    return COFFER_OK;
}

static char *
make_url(CURL *curl, const char *path, const char *const *words)
{
    struct buf url;
    char *text;

    buf_init(&url, 16384);
    buf_str(&url, "http://cofferd/api/v1");
    for (const char *p = path; *p != '\0'; p++) {
        if (*p == '%' && p[1] == 's') {
            char *escaped = curl_easy_escape(curl, *words, 0);

            buf_str(&url, escaped != NULL ? escaped : "");
            curl_free(escaped);
            words++;
            p++;
        } else {
            buf_u8(&url, (uint8_t)*p);
        }
    }
    text = url.failed == 0 ? mem_strdup(buf_cstr(&url)) : NULL;
    buf_wipe(&url);
    return text;
}

static int
status_of(const char *name)
{
    for (int status = COFFER_OK; name != NULL && status <= COFFER_E_TAMPERED; status++) {
        if (strcmp(coffer_status_name(status), name) == 0)
            return status;
    }
    return COFFER_E_IO;
}

static int
read_answer(const struct buf *answer, long code, json_t **reply, struct coffer_error *err)
{
    json_t *value = json_loadb((const char *)answer->ptr, answer->len, JSON_DECODE_ANY, NULL), *error;

    error = json_object_get(value, "error");
    if (value == NULL)
        return error_set(err, COFFER_E_FORMAT, "cofferd's answer (%ld) is no JSON", code);
    if (code >= 400) {
        int rc = error_set(err, status_of(json_string_value(json_object_get(error, "status"))), "%s",
                           api_text(error, "message"));

        json_decref(value);
        return rc;
    }
    *reply = value;
    return COFFER_OK;
}

static int
perform(CURL *curl, const char *dir, const char *method, const char *body, struct buf *answer, long *code,
        struct coffer_error *err)
{
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    CURLcode done;

    headers = curl_slist_append(headers, "Expect:");
    (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_reply);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    if (body != NULL)
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    done = curl_easy_perform(curl);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, code);
    curl_slist_free_all(headers);
    if (done == CURLE_COULDNT_CONNECT)
        return error_set(err, COFFER_E_NOTFOUND, "no cofferd serves %s. Start it with: coffer serve --state %s", dir, dir);
    if (done != CURLE_OK)
        return error_set(err, COFFER_E_LOST, "cofferd of %s: %s", dir, curl_easy_strerror(done));
    return COFFER_OK;
}

int
api_call(struct cli *cli, const char *method, json_t *body, json_t **reply, struct coffer_error *err, const char *path,
         const char *const *words)
{
    static bool begun;
    char dir[1024], path_of_socket[1100];
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT), *url = NULL;
    struct buf answer;
    CURL *curl = NULL;
    long code = 0;
    int folder = -1, rc = cli_state(cli, dir, err);

    *reply = NULL;
    buf_init(&answer, REPLY_MAX);
    if (rc == COFFER_OK && body != NULL && text == NULL)
        rc = error_set(err, COFFER_E_MISUSE, "names are UTF-8");
    json_decref(body);
    if (rc != COFFER_OK)
        goto out;
    if (!begun)
        begun = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    curl = curl_easy_init();
    url = curl == NULL ? NULL : make_url(curl, path, words);
    if (url == NULL) {
        rc = error_nomem(err);
        goto out;
    }
    rc = socket_path(dir, path_of_socket, sizeof path_of_socket, &folder);
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, path_of_socket);
    if (rc == COFFER_OK)
        rc = perform(curl, dir, method, text, &answer, &code, err);
    if (rc == COFFER_OK)
        rc = read_answer(&answer, code, reply, err);
out:
    if (curl != NULL)
        curl_easy_cleanup(curl);
    if (folder >= 0)
        (void)close(folder);
    buf_wipe(&answer);
    mem_free(url);
    free(text);
    return rc;
}

const char *
api_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL && *text != '\0' ? text : "-";
}

void
api_size(const json_t *object, const char *name, char out[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    const json_t *value = json_object_get(object, name);
    double size = json_number_value(value);
    size_t unit = 0;

    while (size >= 1024 && unit < 4) {
        size /= 1024;
        unit++;
    }
    if (!json_is_number(value))
        memcpy(out, "-", 2);
    else
        (void)snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
}

void
api_time(const json_t *object, const char *name, char out[32])
{
    const char *text = api_text(object, name);

    (void)snprintf(out, 32, "%.16s", text);
    if (strlen(out) == 16)
        out[10] = ' ';
}
