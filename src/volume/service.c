/* SPDX-License-Identifier: Apache-2.0 */
/* The mount's side of a change of keys: what coffer volume rotate asks for through the control channel.
 *
 * Requests come one at a time, from the control channel's thread, after volume_service_started() began and before
 * volume_service_stopping().  A scan runs in a thread of its own, since the answer to a request must not wait for it.
 */
#include "volume/fuse/names.h"
#include "volume/lifecycle_internal.h"

#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* struct volume_service.lock */
struct scan {
    struct volume_service *service;
    struct volume_fs *fs;
    pthread_t thread;
    bool started; /* the thread is to be joined */
    pthread_mutex_t mutex;
    bool running; /* mutex: this and what follows */
    json_int_t ticket;
    char key[VOLUME_KEY_NAME + 1];
    char lower[VOLUME_PATH_MAX]; /* of its own: a reload writes the setup meanwhile */
    const struct volume_format *format;
    struct volume_count count;
    struct life_find find;
    int status;
    struct coffer_error err;
};

/* ---- reload ---- */

static json_t *
names_of(const struct volume_key_set *keys)
{
    json_t *list = json_array();
    size_t i;

    for (i = 0; list != NULL && i < keys->count; i++) {
        if (json_array_append_new(list, json_string(keys->keys[i].name)) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

static int
put(json_t *reply, const char *name, json_t *value, struct coffer_error *err)
{
    return json_object_set_new(reply, name, value) != 0 ? error_nomem(err) : COFFER_OK;
}

static int
reload(struct volume_service *service, struct volume_fs *fs, json_t *reply,
       struct coffer_error *err)
{
    struct volume_setup *setup = service->setup;
    struct keyring *keyring = NULL;
    int rc = service->store->load(service->store, &keyring, err);

    if (rc == COFFER_OK)
        rc = volume_setup_refresh(setup, keyring, err);
    if (rc == COFFER_OK && names_change(fs, &setup->options, setup->keys.keys, setup->keys.count,
                                        setup->names.keys, setup->names.count, err) != 0)
        rc = err != NULL && err->status != COFFER_OK
                 ? err->status
                 : error_set(err, COFFER_E_IO, "the keys cannot be changed");
    if (rc == COFFER_OK)
        rc = put(reply, "epoch", json_integer((json_int_t)keyring_epoch(keyring)), err);
    if (rc == COFFER_OK)
        rc = put(reply, "writes",
                 json_string(setup->keys.count > 0 ? setup->keys.keys[0].name : ""), err);
    if (rc == COFFER_OK)
        rc = put(reply, "opens", names_of(&setup->keys), err);
    keyring_free(keyring);
    return rc;
}

/* ---- walk ---- */

static int
walk(struct volume_service *service, struct volume_fs *fs, const json_t *request,
     struct coffer_error *err)
{
    const char *work = json_string_value(json_object_get(request, "work"));
    struct volume_walk_options options = {.names = json_is_true(json_object_get(request, "names"))};
    struct volume_progress progress;

    if (work != NULL && strcmp(work, "rewrap") == 0)
        options.work = VOLUME_REWRAP;
    else if (work != NULL && strcmp(work, "reencrypt") == 0)
        options.work = VOLUME_REENCRYPT;
    else
        return error_set(err, COFFER_E_FORMAT, "a walk is a \"rewrap\" or a \"reencrypt\"");
    life_pace_read(json_object_get(request, "pace"), &options.pace);
    if (service->walker != NULL) {
        volume_walker_progress(service->walker, &progress);
        if (!progress.ended)
            return error_set(err, COFFER_E_CONFLICT, "a walk is running already");
        volume_walker_stop(service->walker);
        service->walker = NULL;
    }
    return volume_walker_start(fs, &options, &service->walker, err);
}

static int
steer(struct volume_service *service, const char *command, const json_t *request,
      struct coffer_error *err)
{
    struct volume_progress progress = {.ended = true};
    struct volume_pace pace;

    if (service->walker != NULL)
        volume_walker_progress(service->walker, &progress);
    if (progress.ended)
        return error_set(err, COFFER_E_NOTFOUND, "no walk is running");
    if (strcmp(command, "throttle") == 0) {
        life_pace_read(json_object_get(request, "pace"), &pace);
        volume_walker_pace(service->walker, &pace);
    } else {
        volume_walker_pause(service->walker, strcmp(command, "pause") == 0);
    }
    return COFFER_OK;
}

/* ---- scan ---- */

static void
on_find(void *arg, const char *path, const char *what)
{
    struct scan *scan = arg;

    pthread_mutex_lock(&scan->mutex);
    if (scan->find.path[0] == '\0') {
        snprintf(scan->find.path, sizeof scan->find.path, "%s", path);
        snprintf(scan->find.what, sizeof scan->find.what, "%s", what);
    }
    pthread_mutex_unlock(&scan->mutex);
}

static void *
scan_run(void *arg)
{
    struct scan *scan = arg;
    const struct volume_service *service = scan->service;
    struct volume_count count = {0};
    struct coffer_error err = {0};
    int rc = volume_scan(scan->lower, scan->fs, scan->format, service->volume, scan->key[0] != '\0' ? scan->key : NULL, on_find, scan, &count, &err);

    pthread_mutex_lock(&scan->mutex);
    scan->count = count;
    scan->status = rc;
    scan->err = err;
    scan->running = false;
    pthread_mutex_unlock(&scan->mutex);
    return NULL;
}

static struct scan *
scan_of(struct volume_service *service)
{
    struct scan *scan = service->lock;

    if (scan == NULL) {
        scan = mem_alloc(sizeof *scan);
        if (scan == NULL)
            return NULL;
        memset(scan, 0, sizeof *scan);
        pthread_mutex_init(&scan->mutex, NULL);
        scan->service = service;
        service->lock = scan;
    }
    return scan;
}

static int
scan_start(struct scan *scan, struct volume_fs *fs, const char *key, struct coffer_error *err)
{
    if (scan->started)
        pthread_join(scan->thread, NULL);
    scan->started = false;
    scan->fs = fs;
    scan->format = scan->service->setup->format;
    memcpy(scan->lower, scan->service->setup->lower, sizeof scan->lower);
    memset(&scan->find, 0, sizeof scan->find);
    snprintf(scan->key, sizeof scan->key, "%s", key != NULL ? key : "");
    scan->ticket++;
    scan->running = true;
    if (pthread_create(&scan->thread, NULL, scan_run, scan) != 0) {
        scan->running = false;
        return error_set(err, COFFER_E_NOMEM, "no thread for a scan");
    }
    scan->started = true;
    return COFFER_OK;
}

/* {"key", "ticket": 0} begins one and answers its ticket; with the ticket it answers the count once there is one. */
static int
scan(struct volume_service *service, struct volume_fs *fs, const json_t *request, json_t *reply,
     struct coffer_error *err)
{
    const char *key = json_string_value(json_object_get(request, "key"));
    json_int_t ticket = json_integer_value(json_object_get(request, "ticket"));
    struct scan *scan = scan_of(service);
    bool running;
    int rc = COFFER_OK;

    if (scan == NULL)
        return error_nomem(err);
    pthread_mutex_lock(&scan->mutex);
    running = scan->running;
    pthread_mutex_unlock(&scan->mutex);
    if (ticket == 0 && running)
        return error_set(err, COFFER_E_CONFLICT, "another scan is running");
    if (ticket == 0)
        rc = scan_start(scan, fs, key, err);
    else if (ticket != scan->ticket)
        rc = error_set(err, COFFER_E_CONFLICT, "another scan was begun meanwhile");
    else if (!running && scan->status != COFFER_OK)
        rc = error_set(err, scan->status, "%s", scan->err.message);
    else if (!running) {
        rc = put(reply, "count", life_count_json(&scan->count), err);
        if (rc == COFFER_OK && scan->find.path[0] != '\0')
            rc = put(reply, "found",
                     json_pack("{s:o,s:o}", "path", life_text_json(scan->find.path), "what",
                               life_text_json(scan->find.what)),
                     err);
    }
    return rc == COFFER_OK ? put(reply, "ticket", json_integer(scan->ticket), err) : rc;
}

/* ---- status ---- */

static json_t *
keys_json(const struct volume_key_set *keys)
{
    json_t *list = json_array();
    char id[9];
    size_t i;

    for (i = 0; list != NULL && i < keys->count; i++) {
        snprintf(id, sizeof id, "%08x", (unsigned)keys->keys[i].id);
        (void)json_array_append_new(list, json_pack("{s:s,s:s,s:b}", "id", id, "name",
                                                    keys->keys[i].name, "writes", (int)(i == 0)));
    }
    return list;
}

static int
status(struct volume_service *service, json_t *reply, struct coffer_error *err)
{
    const struct volume_setup *setup = service->setup;
    struct volume_progress progress;
    char text[37];
    int rc = COFFER_OK;

    if (setup->in_keyring) {
        uuid_format(&setup->id, text);
        rc = put(reply, "volume", json_string(text), err);
    }
    snprintf(text, sizeof text, "aes-%u", setup->options.key_bits);
    if (rc == COFFER_OK)
        rc = put(reply, "cipher", json_string(text), err);
    if (rc == COFFER_OK)
        rc = put(reply, "encrypt_names", json_boolean(setup->options.encrypt_names), err);
    if (rc == COFFER_OK)
        rc = put(reply, "keys", keys_json(&setup->keys), err);
    if (rc == COFFER_OK && setup->rotation.work != 0)
        rc = put(reply, "rotation",
                 json_string(setup->rotation.work == VOLUME_REENCRYPT ? "reencrypt" : "rewrap"),
                 err);
    if (rc == COFFER_OK && service->walker != NULL) {
        volume_walker_progress(service->walker, &progress);
        rc = put(reply, "walk", life_progress_json(&progress), err);
    }
    return rc;
}

/* ---- requests ---- */

int
volume_service_control(void *arg, struct volume_fs *fs, const char *command, const json_t *request,
                       json_t *reply, struct coffer_error *err)
{
    struct volume_service *service = arg;

    if (strcmp(command, "status") == 0)
        return status(service, reply, err);
    if (strcmp(command, "scan") == 0)
        return scan(service, fs, request, reply, err);
    if (strcmp(command, "pause") == 0 || strcmp(command, "resume") == 0 ||
        strcmp(command, "throttle") == 0)
        return steer(service, command, request, err);
    if (strcmp(command, "stop-walk") == 0) {
        volume_walker_stop(service->walker);
        service->walker = NULL;
        return COFFER_OK;
    }
    if (strcmp(command, "reload") != 0 && strcmp(command, "walk") != 0)
        return error_set(err, COFFER_E_UNSUPPORTED, "no such command: %s", command);
    if (service->store == NULL)
        return error_set(err, COFFER_E_REFUSED,
                         "this volume was opened with a passphrase and is in no keyring; coffer "
                         "volume import brings it in");
    return strcmp(command, "reload") == 0 ? reload(service, fs, reply, err)
                                          : walk(service, fs, request, err);
}

void
volume_service_started(void *arg, struct volume_fs *fs)
{
    struct volume_service *service = arg;

    service->fs = fs;
}

void
volume_service_stopping(void *arg, struct volume_fs *fs)
{
    struct volume_service *service = arg;
    struct scan *scan = service->lock;

    (void)fs;
    volume_walker_stop(service->walker);
    service->walker = NULL;
    if (scan != NULL) {
        if (scan->started)
            pthread_join(scan->thread, NULL);
        pthread_mutex_destroy(&scan->mutex);
        mem_free(scan);
    }
    service->lock = NULL;
}
