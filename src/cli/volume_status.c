/* SPDX-License-Identifier: Apache-2.0 */
/* coffer volume status: of a mount through its control channel, else of the folder. */
#include "cli/events.h"
#include "cli/volume.h"

#include "base/mem.h"
#include "volume/fuse/control.h"

#include <inttypes.h>
#include <string.h>

#define POLL_MS 50

/* One request; the command's name and what goes with it. */
static int
ask(const char *path, json_t *request, json_t **reply, struct coffer_error *err)
{
    int rc = request == NULL ? error_nomem(err) : volume_control_call(path, request, reply, err);

    json_decref(request);
    return rc;
}

/* The mount counts in its own time; its control channel is asked until it has. */
static int
scan_mounted(struct cli *cli, const char *path, json_t **count, struct coffer_error *err)
{
    json_t *reply = NULL;
    json_int_t ticket;
    int rc =
        ask(path, json_pack("{s:s,s:n,s:i}", "command", "scan", "key", "ticket", 0), &reply, err);

    *count = NULL;
    ticket = json_integer_value(json_object_get(reply, "ticket"));
    while (rc == COFFER_OK && json_object_get(reply, "count") == NULL) {
        json_decref(reply);
        reply = NULL;
        if (cli_stop)
            return error_set(err, COFFER_E_CANCELLED, "stopped; the mount goes on");
        cli->os->sleep_ms(cli->os, POLL_MS);
        rc = ask(path, json_pack("{s:s,s:n,s:I}", "command", "scan", "key", "ticket", ticket),
                 &reply, err);
    }
    if (rc == COFFER_OK)
        *count = json_incref(json_object_get(reply, "count"));
    json_decref(reply);
    return rc;
}

static json_t *
count_json(const struct volume_count *c)
{
    json_t *keys = json_array();

    for (size_t i = 0; i < c->key_count; i++)
        json_array_append_new(keys, json_pack("{s:s,s:I,s:I,s:I}", "key", c->keys[i].key, "files",
                                              (json_int_t)c->keys[i].files, "bytes",
                                              (json_int_t)c->keys[i].bytes, "names",
                                              (json_int_t)c->keys[i].names));
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "files", (json_int_t)c->files,
                     "empty", (json_int_t)c->empty, "bytes", (json_int_t)c->bytes, "names",
                     (json_int_t)c->names, "links", (json_int_t)c->links, "folders",
                     (json_int_t)c->folders, "damaged", (json_int_t)c->damaged, "plain",
                     (json_int_t)c->plain, "other_keys", (json_int_t)c->other_keys, "keys", keys);
}

/* Of a folder that nobody serves: what the mount would answer. */
static int
look_below(struct cli *cli, const char *path, json_t **status, json_t **count,
           struct coffer_error *err)
{
    struct cli_volume volume;
    const struct volume_setup *setup = &volume.setup;
    struct volume_count counted;
    json_t *keys = NULL;
    char cipher[16];
    int rc = cli_volume_open(cli, path, true, &volume, err);

    if (rc != COFFER_OK)
        return rc;
    rc = volume_scan(setup->lower, NULL, setup->format, volume.volume, NULL, NULL, NULL, &counted,
                     err);
    if (rc == COFFER_OK) {
        keys = json_array();
        for (size_t i = 0; i < setup->keys.count; i++)
            json_array_append_new(
                keys, json_pack("{s:o,s:s,s:b}", "id", out_key(setup->keys.keys[i].id), "name",
                                setup->keys.keys[i].name, "writes", (int)(i == 0)));
        (void)snprintf(cipher, sizeof cipher, "aes-%u", setup->options.key_bits);
        *status = json_pack("{s:o,s:n,s:s,s:s,s:b,s:o}", "lower", out_path(setup->lower), "mount",
                            "format", setup->format->name, "cipher", cipher, "encrypt_names",
                            (int)setup->options.encrypt_names, "keys", keys);
        if (setup->in_keyring)
            json_object_set_new(*status, "volume", out_uuid(&setup->id));
        if (setup->rotation.work != 0)
            json_object_set_new(
                *status, "rotation",
                json_string(setup->rotation.work == VOLUME_REENCRYPT ? "reencrypt" : "rewrap"));
        if (setup->importing)
            json_object_set_new(*status, "importing", json_true());
        *count = count_json(&counted);
    }
    cli_volume_close(&volume);
    return rc;
}

/* States of keys are in the keyring.  Without one at hand, or if it would have to ask, they are not shown. */
static void
add_states(struct cli *cli, json_t *status)
{
    json_t *keys = json_object_get(status, "keys"), *key;
    struct host_settings settings;
    struct keyring_store *store = NULL;
    struct keyring *kr = NULL;
    size_t i;

    if (volume_by_passphrase(cli) || json_object_get(status, "volume") == NULL ||
        cli_settings(cli, &settings, NULL) != COFFER_OK ||
        strcmp(settings.kek, "passphrase:") == 0 ||
        cli_keyring(cli, &store, &kr, NULL) != COFFER_OK)
        return;
    json_array_foreach(keys, i, key)
    {
        const char *text = json_string_value(json_object_get(key, "id"));
        const struct keyring_key *known;
        uint32_t id;

        if (text == NULL || parse_key_id(text, &id, NULL) != COFFER_OK)
            continue;
        known = keyring_key(kr, id);
        if (known != NULL)
            json_object_set_new(key, "state", json_string(key_state_name(known->state)));
    }
    keyring_free(kr);
    file_store_close(store);
}

/* What was counted goes to the keys; a key that only files know becomes one more. */
static void
add_count(json_t *status, json_t *count)
{
    json_t *keys = json_object_get(status, "keys"), *counted, *key;
    size_t i, j;

    json_array_foreach(json_object_get(count, "keys"), i, counted)
    {
        const char *name = json_string_value(json_object_get(counted, "key"));
        json_t *found = NULL;

        json_array_foreach(keys, j, key)
        {
            const char *known = json_string_value(json_object_get(key, "name"));

            if (known != NULL && name != NULL && strcmp(known, name) == 0)
                found = key;
        }
        if (found == NULL) {
            found = json_pack("{s:n,s:s,s:b}", "id", "name", name != NULL ? name : "", "writes", 0);
            json_array_append_new(keys, found);
        }
        json_object_set(found, "files", json_object_get(counted, "files"));
        json_object_set(found, "bytes", json_object_get(counted, "bytes"));
        json_object_set(found, "names", json_object_get(counted, "names"));
    }
    json_array_foreach(keys, j, key)
    {
        if (json_object_get(key, "files") == NULL) {
            json_object_set_new(key, "files", json_integer(0));
            json_object_set_new(key, "bytes", json_integer(0));
            json_object_set_new(key, "names", json_integer(0));
        }
    }
    json_object_set(status, "count", count);
    json_object_del(json_object_get(status, "count"), "keys");
}

/* ---- for people ---- */

static uint64_t
number(const json_t *object, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(object, name));

    return n < 0 ? 0 : (uint64_t)n;
}

static const char *
text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "-";
}

static void
print_walk(const json_t *walk)
{
    uint64_t total = number(walk, "files"),
             done = number(walk, "files_done") + number(walk, "files_skipped");
    double left = json_number_value(json_object_get(walk, "seconds_left"));
    char all[32], some[32];

    grouped(done, some);
    grouped(total, all);
    (void)printf("Walk     %s of %s files%s", some, all,
                 json_is_true(json_object_get(walk, "ended"))      ? ", ended"
                 : json_is_true(json_object_get(walk, "paused"))   ? ", paused"
                 : json_is_true(json_object_get(walk, "counting")) ? ", still counting"
                                                                   : "");
    if (left >= 1 && !json_is_true(json_object_get(walk, "ended")))
        (void)printf(", about %.0f s left", left);
    (void)putchar('\n');
    if (number(walk, "failed") > 0)
        (void)printf("         %" PRIu64 " could not be moved: %s\n", number(walk, "failed"),
                     text_of(walk, "failure"));
}

static void
print_keys(const struct cli *cli, const json_t *keys, bool counted)
{
    static const char *const headings[] = {"KEY",    "STATE", "IN FILES AS",
                                           ">FILES", ">SIZE", ">NAMES"};
    struct table *t = table_new(headings, counted ? 6 : 3);
    const json_t *key;
    size_t i;

    json_array_foreach(keys, i, key)
    {
        bool writes = json_is_true(json_object_get(key, "writes"));
        const char *state = text_of(key, "state"), *id = text_of(key, "id");
        char files[32], size[32], names[32];

        if (strcmp(id, "00000000") == 0)
            id = "-";
        grouped(number(key, "files"), files);
        bytes_text(number(key, "bytes"), size);
        grouped(number(key, "names"), names);
        if (strcmp(state, "-") == 0 && writes)
            state = "writes";
        table_row(t, (const char *const[]){id, state, text_of(key, "name"), files, size, names});
    }
    (void)putchar('\n');
    table_print(t, stdout, cli->colour);
    table_free(t);
}

static void
print_count(const json_t *count)
{
    char files[32], size[32], folders[32], links[32];

    grouped(number(count, "files") + number(count, "empty"), files);
    bytes_text(number(count, "bytes"), size);
    grouped(number(count, "folders"), folders);
    grouped(number(count, "links"), links);
    (void)printf("\n%s file%s of %s, %s folder%s, %s link%s\n", files,
                 strcmp(files, "1") == 0 ? "" : "s", size, folders,
                 strcmp(folders, "1") == 0 ? "" : "s", links, strcmp(links, "1") == 0 ? "" : "s");
    if (number(count, "damaged") + number(count, "plain") > 0)
        (void)printf("%" PRIu64 " damaged and %" PRIu64
                     " that are no encrypted files: coffer volume check names them\n",
                     number(count, "damaged"), number(count, "plain"));
    if (number(count, "other_keys") > 0)
        (void)printf("and %" PRIu64 " under still other keys\n", number(count, "other_keys"));
}

static void
print_status(const struct cli *cli, const json_t *status)
{
    const char *mount = json_string_value(json_object_get(status, "mount"));
    const json_t *count = json_object_get(status, "count");
    char path[VOLUME_PATH_MAX];

    path_text(text_of(status, "lower"), path, sizeof path);
    (void)printf("Lower    %s\n", path);
    if (mount != NULL) {
        path_text(mount, path, sizeof path);
        (void)printf("Mounted  %s, by process %" PRIu64 "\n", path, number(status, "pid"));
    } else {
        (void)puts("Mounted  nowhere");
    }
    (void)printf("Format   %s, new files under %s, names %s\n", text_of(status, "format"),
                 text_of(status, "cipher"),
                 json_is_true(json_object_get(status, "encrypt_names")) ? "encrypted"
                                                                        : "as they are");
    if (json_object_get(status, "volume") != NULL)
        (void)printf("Volume   %s\n", text_of(status, "volume"));
    else
        (void)puts("Volume   in no keyring: opened with a passphrase");
    if (json_is_true(json_object_get(status, "importing")))
        (void)puts("Import   not ended: the same coffer volume import goes on");
    if (json_object_get(status, "rotation") != NULL)
        (void)printf("Rotation %s under way: the same coffer volume rotate goes on\n",
                     strcmp(text_of(status, "rotation"), "reencrypt") == 0 ? "re-encryption"
                                                                           : "re-wrap");
    if (json_object_get(status, "walk") != NULL)
        print_walk(json_object_get(status, "walk"));
    print_keys(cli, json_object_get(status, "keys"), count != NULL);
    if (count != NULL)
        print_count(count);
    else
        (void)puts("\nFiles by key: --scan");
}

static int
run_status(struct cli *cli, struct coffer_error *err)
{
    const char *path = cli->args->words[0];
    json_t *status = NULL, *count = NULL;
    int rc;

    cli_catch_signals();
    rc = ask(path, json_pack("{s:s}", "command", "status"), &status, err);
    if (rc == COFFER_OK) {
        json_object_del(status, "ok");
        if (args_flag(cli->args, "scan"))
            rc = scan_mounted(cli, path, &count, err);
    } else if (rc == COFFER_E_NOTFOUND) {
        rc = look_below(cli, path, &status, &count, err);
    }
    if (rc == COFFER_OK && count != NULL)
        add_count(status, count);
    if (rc == COFFER_OK)
        add_states(cli, status);
    if (rc == COFFER_OK && cli->json)
        out_json(json_incref(status));
    else if (rc == COFFER_OK)
        print_status(cli, status);
    json_decref(count);
    json_decref(status);
    return rc;
}

static const struct arg_option options_status[] = {
    {"scan", NULL, "count files and bytes by key; without a mount that is done in any case"},
    {"moved", NULL, "the folder is a copy, or was moved: look at it all the same"},
    {NULL, NULL, NULL}};
const struct command command_volume_status = {
    .name = "volume status",
    .synopsis = "[--scan] MOUNTPOINT|LOWER",
    .summary = "keys, what is under them, how far a rotation is",
    .details = "A mount answers itself, without any key; a folder that is not mounted is opened as "
               "for a mount.\n\n"
               "  coffer volume status /srv/pg\n"
               "  coffer volume status --scan --json /srv/pg\n",
    .options = options_status,
    .more_options = options_passphrase,
    .words_min = 1,
    .words_max = 1,
    .run = run_status,
};
