/* SPDX-License-Identifier: Apache-2.0 */
/* A heartbeat: row "NAME@HOST:PID" of working table client.  docs/FORMAT.md "Working rows". */
#include "base/mem.h"
#include "host/host.h"
#include "ledger/json.h"

#include <string.h>

static json_t *
use_json(const struct heartbeat *beat)
{
    json_t *list = json_array(), *item;
    size_t i;

    for (i = 0; list != NULL && i < beat->use_count; i++) {
        item = json_object();
        if (item == NULL ||
            json_put(item, "key", json_key_id(beat->use[i].key_id), NULL) != COFFER_OK ||
            json_put(item, "seals", json_count(beat->use[i].seals), NULL) != COFFER_OK ||
            json_put(item, "opens", json_count(beat->use[i].opens), NULL) != COFFER_OK ||
            json_array_append(list, item) != 0) {
            json_decref(item);
            json_decref(list);
            return NULL;
        }
        json_decref(item);
    }
    return list;
}

static int
beat_text(const struct heartbeat *beat, struct buf *out, struct coffer_error *err)
{
    json_t *object = json_object();
    int rc = object == NULL ? error_nomem(err) : COFFER_OK;

    if (rc == COFFER_OK)
        rc = json_put(object, "at", json_integer(beat->at_us), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "epoch", json_count(beat->epoch), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "leaving", json_boolean(beat->leaving), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "role", json_string(beat->role), err);
    if (rc == COFFER_OK)
        rc = json_put(object, "use", use_json(beat), err);
    if (rc == COFFER_OK)
        rc = json_canonical(object, out, err);
    json_decref(object);
    return rc;
}

int
heartbeat_write(struct journal *journal, const struct heartbeat *beat, struct coffer_error *err)
{
    struct buf text, old;
    uint64_t epoch = 0;
    int rc;

    buf_init(&text, LEDGER_JSON_MAX);
    buf_init(&old, LEDGER_JSON_MAX);
    rc = beat_text(beat, &text, err);
    if (rc == COFFER_OK) {
        rc = journal_get(journal, "client", beat->client, &old, &epoch, err);
        if (rc == COFFER_E_TAMPERED) /* ours to write: what somebody made of it goes */
            rc = journal_remove(journal, "client", beat->client, err);
        else if (rc == COFFER_E_NOTFOUND)
            rc = COFFER_OK;
    }
    if (rc == COFFER_OK)
        rc = journal_put(journal, "client", beat->client, buf_view(&text), epoch, err);
    buf_wipe(&text);
    buf_wipe(&old);
    return rc;
}

static int
read_use(const json_t *list, struct heartbeat *beat, struct coffer_error *err)
{
    const json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        struct coffer_use *use = &beat->use[beat->use_count];
        uint8_t id[4];
        int rc;

        if (beat->use_count == sizeof beat->use / sizeof beat->use[0])
            break;
        rc = json_get_hex(item, "key", id, sizeof id, err);
        if (rc == COFFER_OK)
            rc = json_get_count(item, "seals", &use->seals, err);
        if (rc == COFFER_OK)
            rc = json_get_count(item, "opens", &use->opens, err);
        if (rc != COFFER_OK)
            return rc;
        use->key_id = get_be32(id);
        beat->use_count++;
    }
    return COFFER_OK;
}

static int
read_beat(const struct journal_row *row, struct heartbeat *beat, struct coffer_error *err)
{
    json_t *object = NULL;
    const char *role = "";
    uint64_t at = 0;
    int rc;

    memset(beat, 0, sizeof *beat);
    memcpy(beat->client, row->key, sizeof beat->client);
    rc = json_parse(row->content, &object, err);
    if (rc == COFFER_OK)
        rc = json_get_count(object, "at", &at, err);
    if (rc == COFFER_OK)
        rc = json_get_count(object, "epoch", &beat->epoch, err);
    if (rc == COFFER_OK)
        rc = json_get_string(object, "role", &role, err);
    if (rc == COFFER_OK && strlen(role) >= sizeof beat->role)
        rc = error_set(err, COFFER_E_FORMAT, "the role of client %s is too long", row->key);
    if (rc == COFFER_OK) {
        memcpy(beat->role, role, strlen(role) + 1);
        beat->at_us = (int64_t)at;
        beat->leaving = json_is_true(json_object_get(object, "leaving"));
        rc = read_use(json_object_get(object, "use"), beat, err);
    }
    json_decref(object);
    return rc;
}

struct listing {
    heartbeat_fn fn;
    void *arg;
};

static int
give_beat(void *arg, const struct journal_row *row, struct coffer_error *err)
{
    const struct listing *listing = arg;
    struct heartbeat beat;
    int rc = read_beat(row, &beat, err);

    return rc != COFFER_OK ? rc : listing->fn(listing->arg, &beat, err);
}

int
heartbeat_list(struct journal *journal, heartbeat_fn fn, void *arg, struct coffer_error *err)
{
    struct listing listing = {fn, arg};

    return journal_list(journal, "client", "", give_beat, &listing, NULL, err);
}

/* ---- rows of clients that are long gone ---- */

#define PRUNE_MAX 64

struct shown { /* by a declared client */
    uint64_t epoch;
    int64_t at_us;
};

struct prune {
    const struct keyring *keyring;
    int64_t before_us;
    struct shown *best; /* one for each declared client */
    char (*names)[KEYRING_NAME_MAX];
    size_t count;
};

static int
find_best(void *arg, const struct heartbeat *beat, struct coffer_error *err)
{
    struct prune *p = arg;

    (void)err;
    for (size_t i = 0; i < keyring_client_count(p->keyring); i++) {
        struct shown *best = &p->best[i];

        if (strcmp(keyring_client_at(p->keyring, i)->name, beat->role) == 0 &&
            (beat->epoch > best->epoch || (beat->epoch == best->epoch && beat->at_us > best->at_us)))
            *best = (struct shown){beat->epoch, beat->at_us};
    }
    return COFFER_OK;
}

static bool
is_best(const struct prune *p, const struct heartbeat *beat)
{
    for (size_t i = 0; i < keyring_client_count(p->keyring); i++) {
        if (strcmp(keyring_client_at(p->keyring, i)->name, beat->role) == 0 &&
            beat->epoch == p->best[i].epoch && beat->at_us == p->best[i].at_us)
            return true;
    }
    return false;
}

/* The end of a rotation compares what was opened under the proven key before and after its grace. */
static bool
is_evidence(const struct prune *p, const struct heartbeat *beat)
{
    for (size_t i = 0; i < beat->use_count; i++) {
        const struct keyring_key *key = keyring_key(p->keyring, beat->use[i].key_id);

        if (key != NULL && key->state != KEY_ACTIVE && key->state != KEY_ESCROWED &&
            key->state != KEY_DESTROYED)
            return true;
    }
    return false;
}

static int
find_gone(void *arg, const struct heartbeat *beat, struct coffer_error *err)
{
    struct prune *p = arg;

    (void)err;
    if (p->count < PRUNE_MAX && beat->at_us < p->before_us && !is_best(p, beat) && !is_evidence(p, beat))
        memcpy(p->names[p->count++], beat->client, sizeof beat->client);
    return COFFER_OK;
}

int
heartbeat_prune(struct journal *journal, int64_t now_us, size_t *removed, struct coffer_error *err)
{
    struct prune p = {.keyring = journal->keyring,
                      .before_us = now_us - (int64_t)HEARTBEAT_KEPT_MS * 1000};
    int rc;

    *removed = 0;
    p.best = mem_array(keyring_client_count(p.keyring) + 1, sizeof *p.best);
    p.names = mem_array(PRUNE_MAX, sizeof *p.names);
    rc = p.best == NULL || p.names == NULL ? error_nomem(err) : COFFER_OK;
    if (rc == COFFER_OK)
        rc = heartbeat_list(journal, find_best, &p, err);
    if (rc == COFFER_OK)
        rc = heartbeat_list(journal, find_gone, &p, err);
    while (rc == COFFER_OK && *removed < p.count) {
        rc = journal_remove(journal, "client", p.names[*removed], err);
        if (rc == COFFER_OK)
            ++*removed;
    }
    mem_free(p.best);
    mem_free(p.names);
    return rc;
}
