/* SPDX-License-Identifier: Apache-2.0 */
/* database.rotate by the method "dump-restore": the next generation is built beside the one that answers, under a key of its own.
 *
 *   begin, folder, volume, init, server   the new generation, reached by a Unix socket of its own
 *   copy      the old one takes no more writes; dump into the new one; both have the same tables and rows
 *   switch    both servers stop; one transaction makes the new generation the current one; it starts, on port and URL of the old one
 *   retire    the old generation's folder goes, and its keys
 *
 * Until the switch the old generation is the database: whatever fails before, it answers as before.
 */
#include "deploy/rotate.h"

#include "base/error.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define PIPE_BYTES 65536

/* ---- both sides ---- */

static unsigned
number(const struct job *job, const char *name)
{
    return (unsigned)json_integer_value(json_object_get(job->memory, name));
}

int
copy_places(struct job *job, struct copy *out, struct coffer_error *err)
{
    int rc;

    memset(out, 0, sizeof *out);
    rc = database_place(job->deploy, job->database, number(job, "from"), &out->from, err);
    return rc == COFFER_OK
               ? database_place(job->deploy, job->database, number(job, "to"), &out->to, err)
               : rc;
}

void
copy_wipe(struct copy *copy)
{
    database_place_wipe(&copy->from);
    database_place_wipe(&copy->to);
}

/* ---- building ---- */

int
copy_begin(struct job *job, struct coffer_error *err)
{
    struct database d;
    int64_t last = 0;
    uint32_t old = 0;
    unsigned bits;
    int rc;

    if (number(job, "to") != 0) /* by a run that died here */
        return COFFER_OK;
    rc = database_get(job->deploy, job->database, &d, err);
    if (rc == COFFER_OK)
        rc = rotate_active_key(job->deploy, d.volume, &old, err);
    if (rc == COFFER_OK)
        rc = stack_key_bits(job->deploy, d.stack, &bits, err);
    if (rc == COFFER_OK)
        rc = state_begin(job->deploy, err);
    if (rc != COFFER_OK)
        return rc;
    rc = state_number(job->deploy, &last, NULL, err,
                      "SELECT max(generation) FROM generations WHERE database = ?", "s", d.id);
    if (rc == COFFER_OK)
        rc = state_run(job->deploy, err,
                       "INSERT INTO generations(database, generation, volume, key_bits, state, "
                       "created) VALUES(?, ?, '', ?, 'building', ?)",
                       "siii", d.id, last + 1, (int64_t)bits,
                       job->deploy->os->now_us(job->deploy->os));
    (void)json_object_set_new(job->memory, "from", json_integer((json_int_t)d.generation));
    (void)json_object_set_new(job->memory, "to", json_integer((json_int_t)last + 1));
    (void)json_object_set_new(job->memory, "old", json_integer(old));
    (void)json_object_set_new(job->memory, "volume", json_string(d.volume));
    if (rc == COFFER_OK)
        rc = job_remember(job, err); /* with the row, or not at all */
    return state_end(job->deploy, rc, err);
}

#define WITH_COPY(job, call)                                                                       \
    struct copy copy;                                                                              \
    int rc = copy_places(job, &copy, err);                                                         \
    if (rc == COFFER_OK)                                                                           \
        rc = (call);                                                                               \
    copy_wipe(&copy);                                                                              \
    return rc

int
copy_folder(struct job *job, struct coffer_error *err)
{
    WITH_COPY(job, generation_folder(job->deploy, &copy.to, err));
}

int
copy_volume(struct job *job, struct coffer_error *err)
{
    WITH_COPY(job, generation_volume(job->deploy, &copy.to, job->who, err));
}

static int
mount_and_init(struct job *job, const struct database_place *to, struct coffer_error *err)
{
    int rc = run_mount(job->deploy, to, err);

    return rc == COFFER_OK ? to->engine->init(&to->place, err) : rc;
}

int
copy_init(struct job *job, struct coffer_error *err)
{
    WITH_COPY(job, mount_and_init(job, &copy.to, err));
}

static int
serve(struct job *job, const struct database_place *to, struct coffer_error *err)
{
    int rc = run_mount(job->deploy, to, err);

    if (rc == COFFER_OK)
        rc = run_server(job->deploy, to, err);
    return rc == COFFER_OK && to->engine->prepare != NULL ? to->engine->prepare(&to->place, err)
                                                          : rc;
}

int
copy_server(struct job *job, struct coffer_error *err)
{
    WITH_COPY(job, serve(job, &copy.to, err));
}

/* ---- downtime ---- */

int
copy_quiet(struct job *job, const struct copy *copy, struct coffer_error *err)
{
    int rc = COFFER_OK;

    if (!json_is_integer(json_object_get(job->memory, "down_since"))) {
        (void)json_object_set_new(job->memory, "down_since",
                                  json_integer(job->deploy->os->now_us(job->deploy->os)));
        rc = job_remember(job, err);
    }
    if (rc == COFFER_OK && copy->from.engine->read_only != NULL)
        rc = copy->from.engine->read_only(&copy->from.place, true, err);
    return rc;
}

void
copy_unquiet(struct job *job, const struct copy *copy)
{
    struct coffer_error why = {0};

    if (copy->from.engine->read_only != NULL &&
        copy->from.engine->read_only(&copy->from.place, false, &why) != COFFER_OK)
        job_say(job, "the database could not be opened for writing again: %s", why.message);
    (void)json_object_del(job->memory, "down_since");
    (void)!job_remember(job, NULL);
}

int
copy_compare(struct job *job, const struct copy *copy, struct coffer_error *err)
{
    json_t *here = NULL, *there = NULL;
    int rc = copy->from.engine->census(&copy->from.place, &here, err);

    if (rc == COFFER_OK)
        rc = copy->to.engine->census(&copy->to.place, &there, err);
    if (rc == COFFER_OK && json_equal(here, there) == 0)
        rc = error_set(err, COFFER_E_MANGLED,
                       "the copy has not the same tables and rows; the database stays as it was");
    if (rc == COFFER_OK)
        job_say(job, "both have the same %zu tables, row by row counted",
                json_object_size(json_object_get(here, "tables")));
    json_decref(here);
    json_decref(there);
    return rc;
}

/* ---- dump | load ---- */

static int
pump(struct job *job, int from, int to, uint64_t *bytes, struct coffer_error *err)
{
    static _Thread_local uint8_t room[PIPE_BYTES];
    ssize_t n;

    while ((n = read(from, room, sizeof room)) > 0) {
        for (ssize_t at = 0; at < n;) {
            ssize_t wrote = write(to, room + at, (size_t)(n - at));

            if (wrote < 0)
                return error_set(err, COFFER_E_LOST, "the new database takes no more of the dump");
            at += wrote;
        }
        *bytes += (uint64_t)n;
        job_progress(job, *bytes, 0, "bytes");
        if (job_cancelled(job))
            return error_set(err, COFFER_E_CANCELLED, "stopped, as asked");
    }
    return n == 0 ? COFFER_OK : error_set(err, COFFER_E_IO, "the dump cannot be read");
}

static int
stream(struct job *job, const struct copy *copy, uint64_t *bytes, struct coffer_error *err)
{
    struct process_spec dump = {0}, load = {0};
    struct process_stream *from = NULL, *to = NULL;
    struct coffer_error end = {0};
    int from_fd = -1, to_fd = -1, rc, ended;

    process_spec_clear(&dump);
    process_spec_clear(&load);
    rc = copy->from.engine->dump(&copy->from.place, &dump, err);
    if (rc == COFFER_OK)
        rc = copy->to.engine->load(&copy->to.place, &load, err);
    if (rc == COFFER_OK)
        rc = process_stream_begin(&dump, true, &from_fd, &from, err);
    if (rc == COFFER_OK)
        rc = process_stream_begin(&load, false, &to_fd, &to, err);
    if (rc == COFFER_OK)
        rc = pump(job, from_fd, to_fd, bytes, err);
    /* A dump that ended early must not be taken for a whole one: the other side is ended before it could commit. */
    ended = process_stream_end(from, rc != COFFER_OK, &end);
    if (rc == COFFER_OK && ended != COFFER_OK)
        rc = error_set(err, ended, "%s", end.message);
    ended = process_stream_end(to, rc != COFFER_OK && rc != COFFER_E_LOST, &end);
    if ((rc == COFFER_OK || rc == COFFER_E_LOST) && ended != COFFER_OK)
        rc = error_set(err, ended, "%s", end.message);
    process_spec_clear(&dump);
    process_spec_clear(&load);
    return rc;
}

/* A run that died after the load was complete left everything there. */
static bool
loaded(const struct copy *copy)
{
    json_t *here = NULL, *there = NULL;
    bool same = copy->from.engine->census(&copy->from.place, &here, NULL) == COFFER_OK &&
                copy->to.engine->census(&copy->to.place, &there, NULL) == COFFER_OK &&
                json_equal(here, there) != 0;

    json_decref(here);
    json_decref(there);
    return same;
}

static int
step_copy(struct job *job, struct coffer_error *err)
{
    bool again = json_is_true(json_object_get(job->memory, "copying"));
    uint64_t bytes = 0;
    struct copy copy;
    int rc = copy_places(job, &copy, err);

    if (rc == COFFER_OK)
        rc = serve(job, &copy.to, err);
    if (rc == COFFER_OK) {
        (void)json_object_set_new(job->memory, "copying", json_true());
        rc = copy_quiet(job, &copy, err);
    }
    if (rc == COFFER_OK && !(again && loaded(&copy))) {
        rc = stream(job, &copy, &bytes, err);
        (void)json_object_set_new(job->memory, "bytes", json_integer((json_int_t)bytes));
    }
    if (rc == COFFER_OK)
        rc = copy_compare(job, &copy, err);
    if (rc != COFFER_OK && rc != COFFER_E_CANCELLED)
        copy_unquiet(job, &copy);
    else if (rc == COFFER_E_CANCELLED)
        copy_unquiet(job, &copy);
    copy_wipe(&copy);
    return rc;
}

static int
undo_copy(struct job *job, struct coffer_error *err)
{
    struct copy copy;
    int rc = copy_places(job, &copy, err);

    if (rc == COFFER_OK)
        copy_unquiet(job, &copy);
    copy_wipe(&copy);
    return rc;
}

int
copy_undo(struct job *job, struct coffer_error *err)
{
    unsigned to = number(job, "to");
    struct database_place place;
    int rc;

    if (to == 0)
        return COFFER_OK;
    rc = database_place(job->deploy, job->database, to, &place, err);
    if (rc == COFFER_E_NOTFOUND)
        return COFFER_OK;
    if (rc == COFFER_OK)
        rc = generation_remove(job->deploy, &place, err);
    if (rc == COFFER_OK)
        rc = volume_shred(job->deploy, place.volume, job->who, NULL, 0, err);
    database_place_wipe(&place);
    return rc == COFFER_OK
               ? state_run(job->deploy, err,
                           "DELETE FROM generations WHERE database = ? AND generation = ?", "si",
                           job->database, (int64_t)to)
               : rc;
}

/* ---- the switch ---- */

static int
put_current(struct job *job, unsigned to, struct coffer_error *err)
{
    int rc = state_begin(job->deploy, err);

    if (rc != COFFER_OK)
        return rc;
    rc = state_run(
        job->deploy, err,
        "UPDATE generations SET state = 'retired' WHERE database = ? AND state = 'current'", "s",
        job->database);
    if (rc == COFFER_OK)
        rc = state_run(
            job->deploy, err,
            "UPDATE generations SET state = 'current' WHERE database = ? AND generation = ?", "si",
            job->database, (int64_t)to);
    if (rc == COFFER_OK)
        rc = state_run(job->deploy, err, "UPDATE databases SET generation = ? WHERE id = ?", "is",
                       (int64_t)to, job->database);
    return state_end(job->deploy, rc, err);
}

/* A server that a former run left at its temporary place is not the one that answers. */
static int
exchange(struct job *job, struct coffer_error *err)
{
    unsigned to = number(job, "to");
    struct copy copy;
    int rc = copy_places(job, &copy, err);

    if (rc == COFFER_OK && copy.from.database.generation != to) {
        rc = run_stop_server(job->deploy, &copy.to, err);
        if (rc == COFFER_OK)
            rc = run_stop_server(job->deploy, &copy.from, err);
        if (rc == COFFER_OK)
            rc = put_current(job, to, err);
    }
    copy_wipe(&copy);
    return rc == COFFER_OK ? run_up(job->deploy, job->database, err) : rc;
}

int
copy_switch(struct job *job, struct coffer_error *err)
{
    int64_t now, since = (int64_t)json_integer_value(json_object_get(job->memory, "down_since"));
    int rc;

    watch_hold(job->deploy, job->database);
    rc = exchange(job, err);
    watch_release(job->deploy, job->database);
    if (rc != COFFER_OK)
        return rc;
    now = job->deploy->os->now_us(job->deploy->os);
    if (!json_is_integer(json_object_get(job->memory, "downtime_ms")))
        (void)json_object_set_new(job->memory, "downtime_ms", json_integer((now - since) / 1000));
    job_say(job, "the new database answers; nobody could write for %" PRId64 " ms",
            (now - since) / 1000);
    return job_remember(job, err);
}

int
copy_retire(struct job *job, struct coffer_error *err)
{
    const char *volume = json_string_value(json_object_get(job->memory, "volume"));
    struct database_place place;
    char held[400] = "";
    int rc = database_place(job->deploy, job->database, number(job, "from"), &place, err);

    if (rc == COFFER_OK)
        rc = generation_remove(job->deploy, &place, err);
    database_place_wipe(&place);
    if (rc == COFFER_OK || rc == COFFER_E_NOTFOUND)
        rc = volume_shred(job->deploy, volume, job->who, held, sizeof held, err);
    if (rc == COFFER_OK && held[0] != '\0')
        job_say(job, "the former key is kept in escrow: %s", held);
    return rc == COFFER_OK
               ? state_run(job->deploy, err,
                           "DELETE FROM generations WHERE database = ? AND generation = ?", "si",
                           job->database, (int64_t)number(job, "from"))
               : rc;
}

int
copy_end(struct job *job, const char *method, struct coffer_error *err)
{
    const char *volume = json_string_value(json_object_get(job->memory, "volume"));
    uint32_t old = number(job, "old"), now = 0;
    struct database d;
    int rc = database_get(job->deploy, job->database, &d, err);

    if (rc == COFFER_OK)
        rc = rotate_active_key(job->deploy, d.volume, &now, err);
    if (rc != COFFER_OK)
        return rc;
    database_measure(job->deploy, job->database);
    job->result = json_pack("{s:s,s:I,s:I,s:o,s:o,s:o}", "method", method, "downtime_ms",
                            json_integer_value(json_object_get(job->memory, "downtime_ms")),
                            "bytes", json_integer_value(json_object_get(job->memory, "bytes")),
                            "old_key_id", rotate_key_json(old), "new_key_id", rotate_key_json(now),
                            "certificate", rotate_certificate_json(job->deploy, old, volume));
    return COFFER_OK;
}

int
copy_no_way_back(struct job *job, struct coffer_error *err)
{
    (void)job;
    return error_set(err, COFFER_E_REFUSED,
                     "the new database answers already: resume the job to end it, and rotate once "
                     "more if need be");
}

static int
undo_switch(struct job *job, struct coffer_error *err)
{
    struct database d;
    int rc = database_get(job->deploy, job->database, &d, err);

    if (rc == COFFER_OK && d.generation == number(job, "to"))
        rc = copy_no_way_back(job, err);
    return rc;
}

static int
step_end(struct job *job, struct coffer_error *err)
{
    return copy_end(job, "dump-restore", err);
}

static const struct job_step steps[] = {
    {"begin", copy_begin, copy_undo},     {"folder", copy_folder, NULL},
    {"volume", copy_volume, NULL},        {"init", copy_init, NULL},
    {"server", copy_server, NULL},        {"copy", step_copy, undo_copy},
    {"switch", copy_switch, undo_switch}, {"retire", copy_retire, copy_no_way_back},
    {"end", step_end, copy_no_way_back},  {NULL, NULL, NULL},
};
const struct job_kind job_rotate_copy = {"rotate-dump-restore", steps};
