/* SPDX-License-Identifier: Apache-2.0 */
#include "support/volume_walk_control.h"

#include "volume/fuse/names.h"

#include <string.h>
#include <unistd.h>

static struct volume_walker *walker;
static struct volume_options form;
static const char *key_text, *next_text;

void
walk_control_keys(const struct volume_options *options, const char *key, const char *next)
{
    form = *options;
    key_text = key;
    next_text = next;
}

void
walk_control_stop(void)
{
    volume_walker_stop(walker);
    walker = NULL;
}

static struct volume_pace
pace_of(const json_t *request)
{
    const json_t *pace = json_object_get(request, "pace");

    return (struct volume_pace){
        .bytes_per_second = json_number_value(json_object_get(pace, "bytes_per_second")),
        .duty = json_number_value(json_object_get(pace, "duty")),
        .latency_ratio = json_number_value(json_object_get(pace, "latency_ratio"))};
}

static int
start(struct volume_fs *fs, const json_t *request, struct coffer_error *err)
{
    const char *work = json_string_value(json_object_get(request, "work"));
    struct volume_walk_options options = {
        .work = work != NULL && strcmp(work, "rewrap") == 0 ? VOLUME_REWRAP : VOLUME_REENCRYPT,
        .names = json_is_true(json_object_get(request, "names")),
        .pace = pace_of(request)};
    struct volume_progress progress;

    if (walker != NULL) {
        volume_walker_progress(walker, &progress);
        if (progress.ended)
            walk_control_stop();
    }
    if (walker != NULL)
        return volume_walker_start(fs, &options, &(struct volume_walker *){NULL}, err);
    return volume_walker_start(fs, &options, &walker, err);
}

static int
add_number(json_t *reply, const char *name, uint64_t value)
{
    return json_object_set_new(reply, name, json_integer((json_int_t)value));
}

static int
progress(json_t *reply)
{
    struct volume_progress p;
    int bad = 0;

    volume_walker_progress(walker, &p);
    bad |= add_number(reply, "files", p.files);
    bad |= add_number(reply, "files_done", p.files_done);
    bad |= add_number(reply, "files_skipped", p.files_skipped);
    bad |= add_number(reply, "bytes", p.bytes);
    bad |= add_number(reply, "bytes_done", p.bytes_done);
    bad |= add_number(reply, "names", p.names);
    bad |= add_number(reply, "names_done", p.names_done);
    bad |= add_number(reply, "failed", p.failed);
    bad |= json_object_set_new(reply, "failure", json_string_nocheck(p.failure));
    bad |= json_object_set_new(reply, "rate", json_real(p.rate));
    bad |= json_object_set_new(reply, "seconds_left", json_real(p.seconds_left));
    bad |= json_object_set_new(reply, "counting", json_boolean(p.counting));
    bad |= json_object_set_new(reply, "paused", json_boolean(p.paused));
    bad |= json_object_set_new(reply, "ended", json_boolean(p.ended));
    bad |= json_object_set_new(reply, "end", json_integer(p.status));
    bad |= json_object_set_new(reply, "message", json_string_nocheck(p.error.message));
    return bad == 0 ? COFFER_OK : COFFER_E_NOMEM;
}

static void
found(void *arg, const char *path, const char *what)
{
    json_t *line = json_string_nocheck(path), *list = arg;

    if (json_array_size(list) < 20)
        (void)json_array_append_new(list, json_pack("[o, s]", line, what));
    else
        json_decref(line);
}

static int
scan(struct volume_fs *fs, const struct volume_format *format, struct volume *volume,
     const char *lower, const json_t *request, json_t *reply, struct coffer_error *err)
{
    const char *key = json_string_value(json_object_get(request, "key"));
    json_t *list = json_array(), *keys = json_object();
    struct volume_count count;
    int rc = volume_scan(lower, fs, format, volume, key, found, list, &count, err);

    (void)add_number(reply, "files", count.files);
    (void)add_number(reply, "empty", count.empty);
    (void)add_number(reply, "damaged", count.damaged);
    (void)add_number(reply, "plain", count.plain);
    (void)add_number(reply, "other_keys", count.other_keys);
    for (size_t i = 0; i < count.key_count; i++)
        (void)json_object_set_new(
            keys, count.keys[i].key,
            json_pack("[I, I]", (json_int_t)count.keys[i].files, (json_int_t)count.keys[i].names));
    (void)json_object_set_new(reply, "keys", keys);
    (void)json_object_set_new(reply, "found", list);
    return rc;
}

/* What was --key is the former one, what was --next writes; names too with "names", encrypted then. */
static int
keys(struct volume_fs *fs, const struct volume_format *format, bool change, bool names,
     json_t *reply, struct coffer_error *err)
{
    struct volume_options changed = form;
    struct volume_key pair[2] = {0};
    int rc = format->key_set(bytes_str(next_text), (struct bytes){0}, &pair[0], err);

    if (rc == 0)
        rc = format->key_set(bytes_str(key_text), (struct bytes){0}, &pair[1], err);
    changed.mixed_names = names;
    changed.encrypt_names = names || form.encrypt_names;
    if (rc == 0 && change)
        rc = names_change(fs, &changed, pair, 2, names ? pair : pair + 1, names ? 2 : 1, err);
    (void)json_object_set_new(reply, change ? "new" : "old", json_string(pair[0].name));
    (void)json_object_set_new(reply, change ? "old" : "new", json_string(pair[1].name));
    secret_free(pair[0].secret);
    secret_free(pair[1].secret);
    return rc == 0 ? COFFER_OK : COFFER_E_IO;
}

int
walk_control(struct volume_fs *fs, const struct volume_format *format, struct volume *volume,
             const char *lower, const char *command, const json_t *request, json_t *reply,
             struct coffer_error *err)
{
    struct volume_pace pace;

    if (strcmp(command, "change") == 0 || strcmp(command, "keys") == 0)
        return keys(fs, format, strcmp(command, "change") == 0,
                    json_is_true(json_object_get(request, "names")), reply, err);
    if (strcmp(command, "walk") == 0)
        return start(fs, request, err);
    if (strcmp(command, "scan") == 0)
        return scan(fs, format, volume, lower, request, reply, err);
    if (walker == NULL)
        return COFFER_E_UNSUPPORTED;
    if (strcmp(command, "progress") == 0)
        return progress(reply);
    if (strcmp(command, "pause") == 0 || strcmp(command, "resume") == 0) {
        volume_walker_pause(walker, strcmp(command, "pause") == 0);
    } else if (strcmp(command, "throttle") == 0) {
        pace = pace_of(request);
        volume_walker_pace(walker, &pace);
    } else if (strcmp(command, "stop-walk") == 0) {
        walk_control_stop();
    } else {
        return COFFER_E_UNSUPPORTED;
    }
    return COFFER_OK;
}
