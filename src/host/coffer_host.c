/* SPDX-License-Identifier: Apache-2.0 */
#include "coffer_host.h"

#include "base/mem.h"
#include "host/terminal.h"
#include "host/watch.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int
name_client(struct coffer_host *h, const char *name, struct coffer_error *err)
{
    char machine[64] = "?";

    if (name == NULL)
        name = program_invocation_short_name;
    if (name[0] == '\0' || strlen(name) > 96 || !utf8_valid(bytes_str(name)))
        return error_set(err, COFFER_E_MISUSE, "a client's name is 1 to 96 bytes of UTF-8");
    (void)gethostname(machine, sizeof machine - 1);
    snprintf(h->role, sizeof h->role, "%s", name);
    snprintf(h->client, sizeof h->client, "%.96s@%.63s:%ld", name, machine, (long)getpid());
    return COFFER_OK;
}

/* Two of one file: libcoffer's own keyring, and ours for the MACs of working rows.  A passphrase's KDF
 * runs for ours; libcoffer is given the root key. */
static int
open_keyring(struct coffer_host *h, const char *kek_uri, struct coffer_error *err)
{
    struct secret *secret = NULL;
    struct kek *kek = NULL;
    struct buf file;
    int kind = 0, rc;

    buf_init(&file, KEYRING_FILE_MAX);
    rc = h->os->stamp_file(h->os, h->path, &h->stamp, err);
    if (rc == COFFER_OK)
        rc = h->os->read_file(h->os, h->path, KEYRING_FILE_MAX, &file, err);
    if (rc == COFFER_OK)
        rc = kek_secret(kek_uri, h->os, terminal_prompt, NULL, &kind, &secret, err);
    if (rc == COFFER_OK)
        rc = kind == COFFER_KEK_KEY ? kek_key_new(secret_expose(secret), &kek, err)
                                    : kek_passphrase_new(secret_expose(secret), &kek, err);
    if (rc == COFFER_OK)
        rc = keyring_decode(buf_view(&file), kek, &h->keyring, err);
    if (rc == COFFER_OK && keyring_is_escrow(h->keyring))
        rc = error_set(err, COFFER_E_FORMAT, "%s is an escrow file, not a keyring", h->path);
    if (rc == COFFER_OK)
        rc = coffer_new(file.ptr, file.len, COFFER_KEK_ROOT, secret_expose(keyring_root(h->keyring)).ptr,
                        secret_len(keyring_root(h->keyring)), &h->coffer, err);
    kek_close(kek);
    secret_free(secret);
    buf_wipe(&file);
    return rc;
}

/* Signals are the program's: none is delivered to our thread. */
static int
start_thread(struct coffer_host *h, struct coffer_error *err)
{
    sigset_t all, before;
    int failed;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&h->thread, NULL, coffer_host_run, h);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0)
        return error_set(err, COFFER_E_NOMEM, "the host's thread could not be started: %s",
                         strerror(failed));
    return COFFER_OK;
}

static void
free_attached(struct attached *a)
{
    if (a == NULL)
        return;
    host_database_close(a->database);
    keyring_free(a->keyring);
    mem_free(a->url);
    mem_free(a);
}

static void
free_host(struct coffer_host *h)
{
    while (h->first != NULL) {
        struct attached *a = h->first;

        h->first = a->next;
        free_attached(a);
    }
    coffer_free(h->coffer);
    keyring_free(h->keyring);
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
    mem_free(h->path);
    mem_free(h);
}

static struct coffer_host *
new_host(const char *path)
{
    struct coffer_host *h = mem_alloc(sizeof *h);
    pthread_condattr_t attr;

    if (h == NULL)
        return NULL;
    h->os = &os_real;
    h->path = mem_strdup(path);
    if (h->path == NULL) {
        mem_free(h);
        return NULL;
    }
    pthread_mutex_init(&h->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&h->wake, &attr);
    pthread_condattr_destroy(&attr);
    return h;
}

int
coffer_host_open(const struct coffer_host_options *options, struct coffer_host **out,
                 struct coffer_error *err)
{
    static const struct coffer_host_options none;
    struct host_settings settings;
    struct coffer_host *h;
    int rc;

    if (out == NULL)
        return error_set(err, COFFER_E_MISUSE, "coffer_host_open: out is NULL");
    *out = NULL;
    if (options == NULL)
        options = &none;
    rc = host_settings_find(options->keyring, options->kek, true, &os_real, &settings, err);
    if (rc != COFFER_OK)
        return rc;
    h = new_host(settings.keyring);
    if (h == NULL)
        return error_nomem(err);
    rc = name_client(h, options->client, err);
    if (rc == COFFER_OK)
        rc = open_keyring(h, settings.kek, err);
    if (rc == COFFER_OK)
        rc = start_thread(h, err);
    if (rc != COFFER_OK) {
        free_host(h);
        return rc;
    }
    *out = h;
    return COFFER_OK;
}

static void
say_goodbye(struct coffer_host *h, struct attached *a)
{
    int tries;

    for (tries = 0; a->database != NULL && tries < 5; tries++) {
        if (coffer_host_beat(h, a, true, NULL) != COFFER_E_CONFLICT)
            return;
        h->os->sleep_ms(h->os, 50);
    }
}

void
coffer_host_close(struct coffer_host *h)
{
    struct attached *a;

    if (h == NULL)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    for (a = h->first; a != NULL; a = a->next)
        say_goodbye(h, a);
    free_host(h);
}

struct coffer *
coffer_host_coffer(struct coffer_host *h)
{
    return h->coffer;
}

static int
newest_copy(struct coffer_host *h, struct keyring **out, struct coffer_error *err)
{
    int rc;

    pthread_mutex_lock(&h->lock);
    rc = keyring_clone(h->keyring, out, err);
    pthread_mutex_unlock(&h->lock);
    return rc;
}

/* A rotation may have moved both on since our thread looked: it looks again within half a second.
 */
static int
connect_first(struct coffer_host *h, struct attached *a, struct coffer_error *err)
{
    int rc, tries;

    for (tries = 0;; tries++) {
        rc = newest_copy(h, &a->keyring, err);
        if (rc == COFFER_OK)
            rc = coffer_host_connect(h, a, err);
        if (rc != COFFER_E_ROLLBACK || tries == 4)
            return rc;
        keyring_free(a->keyring);
        a->keyring = NULL;
        h->os->sleep_ms(h->os, LOOK_EVERY_MS);
    }
}

static bool
known(struct coffer_host *h, const struct uuid *id)
{
    const struct attached *a;

    for (a = h->first; a != NULL && !uuid_equal(&a->id, id); a = a->next)
        ;
    return a != NULL;
}

int
coffer_host_attach(struct coffer_host *h, const char *url, uint8_t database_id[16],
                   struct coffer_error *err)
{
    struct attached *a;
    int rc;

    if (h == NULL || url == NULL)
        return error_set(err, COFFER_E_MISUSE, "coffer_host_attach: NULL argument");
    a = mem_alloc(sizeof *a);
    if (a != NULL)
        a->url = mem_strdup(url);
    rc = a == NULL || a->url == NULL ? error_nomem(err) : connect_first(h, a, err);
    if (rc != COFFER_OK) {
        free_attached(a);
        return rc;
    }
    if (database_id != NULL)
        memcpy(database_id, a->id.b, sizeof a->id.b);
    pthread_mutex_lock(&h->lock);
    if (known(h, &a->id)) {
        pthread_mutex_unlock(&h->lock);
        free_attached(a);
        return COFFER_OK;
    }
    a->next = h->first; /* next_ms is past: the thread beats at once */
    h->first = a;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    return COFFER_OK;
}

int
coffer_host_health(struct coffer_host *h, struct coffer_error *err)
{
    struct coffer_error found;

    pthread_mutex_lock(&h->lock);
    found = h->look_error.status != COFFER_OK ? h->look_error : h->beat_error;
    pthread_mutex_unlock(&h->lock);
    if (err != NULL)
        *err = found;
    return found.status;
}
