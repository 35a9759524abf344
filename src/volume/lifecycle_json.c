/* SPDX-License-Identifier: Apache-2.0 */
/* What the two sides of the control channel tell each other, as JSON. */
#include "volume/lifecycle_internal.h"

#include <stdio.h>
#include <string.h>

static json_int_t
count_of(uint64_t n)
{
    return n > INT64_MAX ? INT64_MAX : (json_int_t)n;
}

static uint64_t
number(const json_t *json, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(json, name));

    return n < 0 ? 0 : (uint64_t)n;
}

static void
text(const json_t *json, const char *name, char *out, size_t max)
{
    const char *value = json_string_value(json_object_get(json, name));

    snprintf(out, max, "%s", value != NULL ? value : "");
}

/* Paths are bytes; JSON is text.  What is not UTF-8 is told without those bytes. */
json_t *
life_text_json(const char *bytes)
{
    json_t *value = json_string(bytes);
    char ascii[512];
    size_t i, len = strlen(bytes);

    if (value != NULL)
        return value;
    for (i = 0; i < len && i + 1 < sizeof ascii; i++)
        ascii[i] = (unsigned char)bytes[i] < 0x80 ? bytes[i] : '?';
    ascii[i] = '\0';
    return json_string(ascii);
}

json_t *
life_progress_json(const struct volume_progress *p)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:f,s:f,s:b,s:b,s:b,s:i,s:o}", "files",
                     count_of(p->files), "files_done", count_of(p->files_done), "files_skipped",
                     count_of(p->files_skipped), "bytes", count_of(p->bytes), "bytes_done",
                     count_of(p->bytes_done), "names", count_of(p->names), "names_done",
                     count_of(p->names_done), "failed", count_of(p->failed), "failure",
                     life_text_json(p->failure), "rate", p->rate, "seconds_left", p->seconds_left,
                     "counting", (int)p->counting, "paused", (int)p->paused, "ended", (int)p->ended,
                     "status", p->status, "message", life_text_json(p->error.message));
}

void
life_progress_read(const json_t *json, struct volume_progress *out)
{
    memset(out, 0, sizeof *out);
    out->files = number(json, "files");
    out->files_done = number(json, "files_done");
    out->files_skipped = number(json, "files_skipped");
    out->bytes = number(json, "bytes");
    out->bytes_done = number(json, "bytes_done");
    out->names = number(json, "names");
    out->names_done = number(json, "names_done");
    out->failed = number(json, "failed");
    text(json, "failure", out->failure, sizeof out->failure);
    out->rate = json_number_value(json_object_get(json, "rate"));
    out->seconds_left = json_number_value(json_object_get(json, "seconds_left"));
    out->counting = json_is_true(json_object_get(json, "counting"));
    out->paused = json_is_true(json_object_get(json, "paused"));
    out->ended = json_is_true(json_object_get(json, "ended"));
    out->status = out->error.status = (int)json_integer_value(json_object_get(json, "status"));
    text(json, "message", out->error.message, sizeof out->error.message);
}

json_t *
life_pace_json(const struct volume_pace *pace)
{
    return json_pack("{s:f,s:f,s:f}", "bytes_per_second", pace->bytes_per_second, "duty",
                     pace->duty, "latency_ratio", pace->latency_ratio);
}

void
life_pace_read(const json_t *json, struct volume_pace *out)
{
    out->bytes_per_second = json_number_value(json_object_get(json, "bytes_per_second"));
    out->duty = json_number_value(json_object_get(json, "duty"));
    out->latency_ratio = json_number_value(json_object_get(json, "latency_ratio"));
}

json_t *
life_count_json(const struct volume_count *c)
{
    json_t *keys = json_array();
    size_t i;

    for (i = 0; keys != NULL && i < c->key_count; i++)
        if (json_array_append_new(keys, json_pack("{s:s,s:I,s:I,s:I}", "key", c->keys[i].key,
                                                  "files", count_of(c->keys[i].files), "bytes",
                                                  count_of(c->keys[i].bytes), "names",
                                                  count_of(c->keys[i].names))) != 0) {
            json_decref(keys); /* a key that is left out would look proven gone */
            keys = NULL;
        }
    if (keys == NULL)
        return NULL;
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "files", count_of(c->files),
                     "empty", count_of(c->empty), "bytes", count_of(c->bytes), "names",
                     count_of(c->names), "links", count_of(c->links), "folders",
                     count_of(c->folders), "damaged", count_of(c->damaged), "plain",
                     count_of(c->plain), "other_keys", count_of(c->other_keys), "keys", keys);
}

int
life_count_read(const json_t *json, struct volume_count *out, struct coffer_error *err)
{
    const json_t *keys = json_object_get(json, "keys"), *key;
    size_t i;

    memset(out, 0, sizeof *out);
    if (!json_is_array(keys) || json_array_size(keys) > sizeof out->keys / sizeof out->keys[0])
        return error_set(err, COFFER_E_FORMAT, "the mount's count does not say its keys; is it of another version of coffer?");
    out->files = number(json, "files");
    out->empty = number(json, "empty");
    out->bytes = number(json, "bytes");
    out->names = number(json, "names");
    out->links = number(json, "links");
    out->folders = number(json, "folders");
    out->damaged = number(json, "damaged");
    out->plain = number(json, "plain");
    out->other_keys = number(json, "other_keys");
    json_array_foreach(keys, i, key)
    {
        text(key, "key", out->keys[i].key, sizeof out->keys[i].key);
        out->keys[i].files = number(key, "files");
        out->keys[i].bytes = number(key, "bytes");
        out->keys[i].names = number(key, "names");
        out->key_count = i + 1;
    }
    return COFFER_OK;
}
