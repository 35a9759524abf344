/* SPDX-License-Identifier: Apache-2.0 */
/* The thread of a host: looks at the keyring file, and beats. */
#include "host/watch.h"

#include "base/mem.h"

#include <string.h>
#include <time.h>

#define BUSY_AGAIN_MS 500
#define BACK_OFF_MIN_MS 1000
#define BACK_OFF_MAX_MS 30000
#define PRUNE_EVERY_MS 3600000
#define BUSY_MS 200 /* a beat never holds an application's database up for longer */

static void
note(struct coffer_host *h, struct coffer_error *where, int status, const struct coffer_error *why)
{
    pthread_mutex_lock(&h->lock);
    if (status == COFFER_OK)
        memset(where, 0, sizeof *where);
    else
        *where = *why;
    pthread_mutex_unlock(&h->lock);
}

/* ---- the keyring file ---- */

static int
take_new(struct coffer_host *h, uint64_t stamp, struct coffer_error *err)
{
    struct keyring *newest = NULL, *old;
    struct buf file;
    int rc;

    buf_init(&file, KEYRING_FILE_MAX);
    rc = h->os->read_file(h->os, h->path, KEYRING_FILE_MAX, &file, err);
    if (rc == COFFER_OK)
        rc = keyring_decode_again(buf_view(&file), h->keyring, &newest, err);
    if (rc == COFFER_OK)
        rc = coffer_update(h->coffer, file.ptr, file.len, err);
    if (rc == COFFER_OK) {
        pthread_mutex_lock(&h->lock);
        old = h->keyring;
        h->keyring = newest;
        pthread_mutex_unlock(&h->lock);
        keyring_free(old);
        newest = NULL;
        h->stamp = stamp;
    }
    keyring_free(newest);
    buf_wipe(&file);
    return rc;
}

/* The stamp is taken before the file is read: one replaced in between is seen at the next look. */
static void
look(struct coffer_host *h)
{
    struct coffer_error err = {0};
    uint64_t stamp = 0;
    int rc = h->os->stamp_file(h->os, h->path, &stamp, &err);

    if (rc == COFFER_OK && stamp == 0)
        rc = error_set(&err, COFFER_E_NOTFOUND, "keyring %s: no such file", h->path);
    if (rc == COFFER_OK && stamp == h->stamp)
        coffer_confirm(h->coffer);
    else if (rc == COFFER_OK)
        rc = take_new(h, stamp, &err);
    note(h, &h->look_error, rc, &err);
}

/* ---- beats ---- */

/* Newest use first, so that what does not fit is what was used longest ago. */
static void
gather_use(struct coffer_host *h)
{
    struct coffer_use taken[USE_MAX], sum;
    size_t n = coffer_take_use(h->coffer, taken, USE_MAX), i, at;

    for (i = 0; i < n && i < USE_MAX; i++) {
        for (at = 0; at < h->use_count && h->use[at].key_id != taken[i].key_id; at++)
            ;
        sum = taken[i];
        if (at < h->use_count) {
            sum.seals += h->use[at].seals;
            sum.opens += h->use[at].opens;
        } else if (h->use_count < USE_MAX) {
            h->use_count++;
        } else {
            at = USE_MAX - 1;
        }
        memmove(h->use + 1, h->use, at * sizeof *h->use);
        h->use[0] = sum;
    }
}

int
coffer_host_beat(struct coffer_host *h, struct attached *a, bool leaving, struct coffer_error *err)
{
    struct heartbeat beat = {.leaving = leaving, .at_us = h->os->now_us(h->os)};
    int rc;

    memcpy(beat.client, h->client, sizeof beat.client);
    memcpy(beat.role, h->role, sizeof beat.role);
    beat.epoch = coffer_epoch(h->coffer);
    beat.use_count = h->use_count;
    if (beat.use_count > sizeof beat.use / sizeof beat.use[0])
        beat.use_count = sizeof beat.use / sizeof beat.use[0];
    memcpy(beat.use, h->use, beat.use_count * sizeof beat.use[0]);
    rc = heartbeat_write(&a->database->journal, &beat, err);
    if (rc == COFFER_OK)
        a->shown_epoch = beat.epoch;
    return rc;
}

int
coffer_host_connect(struct coffer_host *h, struct attached *a, struct coffer_error *err)
{
    const struct db_options options = {.application_name = h->role, .busy_ms = BUSY_MS};
    struct host_database *d = NULL;
    int rc = host_database_open(a->keyring, a->url, true, &options, &d, err);

    if (rc == COFFER_OK && !d->registered)
        rc = error_set(err, COFFER_E_NOTFOUND,
                       "the keyring holds nothing of %s: it is made known by coffer protect",
                       d->name);
    if (rc == COFFER_OK && d->restored)
        rc = error_set(
            err, COFFER_E_REFUSED,
            "%s is a restored copy or a clone: what is sealed in it may lose its key. Recover it "
            "first with: coffer rotate %s",
            d->name, d->name);
    if (rc == COFFER_OK && uuid_zero(&a->id))
        a->id = d->id;
    else if (rc == COFFER_OK && !uuid_equal(&a->id, &d->id))
        rc = error_set(err, COFFER_E_REFUSED, "%s is another database than the one attached",
                       d->name);
    if (rc != COFFER_OK) {
        host_database_close(d);
        return rc;
    }
    a->database = d;
    return COFFER_OK;
}

static void
disconnect(struct attached *a)
{
    host_database_close(a->database);
    a->database = NULL;
}

static int
use_newest(struct coffer_host *h, struct attached *a, struct coffer_error *err)
{
    struct keyring *copy = NULL;
    int rc;

    if (keyring_epoch(a->keyring) == keyring_epoch(h->keyring)) /* only this thread replaces it */
        return COFFER_OK;
    rc = keyring_clone(h->keyring, &copy, err);
    if (rc != COFFER_OK)
        return rc;
    if (a->database != NULL)
        host_database_use(a->database, copy);
    keyring_free(a->keyring);
    a->keyring = copy;
    return COFFER_OK;
}

/* Every process leaves a row, and there is nobody else to clear them away.  A failure is of no
 * consequence: a later look tries again. */
static void
prune(struct coffer_host *h, struct attached *a, int64_t now_ms)
{
    size_t removed = 0;

    if (now_ms < a->prune_ms)
        return;
    if (heartbeat_prune(&a->database->journal, h->os->now_us(h->os), &removed, NULL) != COFFER_OK ||
        removed == 0)
        a->prune_ms = now_ms + PRUNE_EVERY_MS;
}

static void
beat(struct coffer_host *h, struct attached *a, int64_t now_ms)
{
    struct coffer_error err = {0};
    bool due =
        now_ms >= a->next_ms || (a->back_off_ms == 0 && a->shown_epoch != coffer_epoch(h->coffer));
    int rc;

    if (!due)
        return;
    gather_use(h);
    rc = use_newest(h, a, &err);
    if (rc == COFFER_OK && a->database == NULL)
        rc = coffer_host_connect(h, a, &err);
    if (rc == COFFER_OK)
        rc = coffer_host_beat(h, a, false, &err);
    if (rc == COFFER_OK) {
        prune(h, a, now_ms);
        a->back_off_ms = 0;
        a->next_ms = now_ms + HEARTBEAT_EVERY_MS;
    } else if (rc == COFFER_E_CONFLICT) { /* the application is writing: soon again */
        a->back_off_ms = BUSY_AGAIN_MS;
        a->next_ms = now_ms + BUSY_AGAIN_MS;
    } else {
        disconnect(a);
        a->back_off_ms = a->back_off_ms < BACK_OFF_MIN_MS ? BACK_OFF_MIN_MS : 2 * a->back_off_ms;
        if (a->back_off_ms > BACK_OFF_MAX_MS)
            a->back_off_ms = BACK_OFF_MAX_MS;
        a->next_ms = now_ms + a->back_off_ms;
    }
    if (rc != COFFER_E_CONFLICT)
        note(h, &h->beat_error, rc, &err);
}

static void
wait_a_little(struct coffer_host *h)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_EVERY_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    (void)pthread_cond_timedwait(&h->wake, &h->lock, &until);
}

void *
coffer_host_run(void *arg)
{
    struct coffer_host *h = arg;
    struct attached *a;

    pthread_mutex_lock(&h->lock);
    while (!h->stop) {
        a = h->first; /* entries are only ever put in front */
        pthread_mutex_unlock(&h->lock);
        look(h);
        for (; a != NULL; a = a->next)
            beat(h, a, h->os->monotonic_ms(h->os));
        pthread_mutex_lock(&h->lock);
        if (!h->stop)
            wait_a_little(h);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}
