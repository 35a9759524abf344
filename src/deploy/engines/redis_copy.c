/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of Redis: a snapshot, as replicas get it. */
#include "deploy/engines/internal.h"
#include "deploy/engines/redis.h"

/* $1 redis-cli, $2 socket, $3 root, then what the script needs. */
static int
script(const struct engine_place *place, const char *text, const char *more,
       struct process_spec *out, struct coffer_error *err)
{
    char client[ENGINE_PATH_MAX], socket[ENGINE_PATH_MAX];
    int rc = spec_begin(place, out, err);

    if (rc == COFFER_OK)
        rc = redis_program(place, "redis-cli", client, err);
    if (rc == COFFER_OK)
        rc = redis_socket(place, socket, err);
    if (rc == COFFER_OK)
        rc = spec_args(out, err, "/bin/sh", "-c", text, "coffer-redis", client, socket, place->root,
                       more, NULL);
    if (rc != COFFER_OK)
        process_spec_clear(out);
    return rc;
}

/* The password is the answer to redis-cli's question, so that it is in no list of processes. */
static const char dump_script[] =
    "exec \"$1\" -s \"$2\" --user " REDIS_ADMIN
    " --askpass --no-auth-warning --rdb - <\"$3/" REDIS_PASSWORD "\"\n";

int
redis_dump(const struct engine_place *place, struct process_spec *out, struct coffer_error *err)
{
    return script(place, dump_script, NULL, out, err);
}

/* A running server takes in a snapshot by DEBUG RELOAD.  Its log of commands does not see that, so it is off meanwhile and begun anew from what is then in
 * memory; a server that dies in between comes back with what it had.  redis-check-rdb reads the whole file and its checksum first: a reload of a
 * broken one would end the server. */
static const char load_script[] =
    "set -e\n"
    "client=$1 socket=$2 root=$3 check=$4\n"
    "ask() {\n"
    "  answer=$({ printf 'AUTH " REDIS_ADMIN " %s\\n' \"$(cat \"$root/" REDIS_PASSWORD
    "\")\"; printf '%s\\n' \"$1\"; } |\n"
    "    \"$client\" -s \"$socket\")\n"
    "}\n"
    "must() {\n"
    "  ask \"$1\"\n"
    "  [ \"$answer\" = \"OK\n"
    "OK\" ] || { echo \"$1: $answer\" >&2; exit 1; }\n"
    "}\n"
    "umask 077\n"
    "cat >\"$root/tmp/load.rdb\"\n"
    "\"$check\" \"$root/tmp/load.rdb\" >&2\n"
    "must 'CONFIG SET save \"\"'\n"
    "must 'CONFIG SET appendonly no'\n"
    "mv \"$root/tmp/load.rdb\" \"$root/data/dump.rdb\"\n"
    "must 'DEBUG RELOAD NOSAVE'\n"
    "must 'CONFIG SET appendonly yes'\n"
    "while ask 'INFO persistence'; do\n"
    "  case $answer in\n"
    "  *aof_rewrite_in_progress:1* | *aof_rewrite_scheduled:1*) sleep 0.1 ;;\n"
    "  *aof_last_bgrewrite_status:ok*) break ;;\n"
    "  *) echo \"the log of commands was not written: $answer\" >&2; exit 1 ;;\n"
    "  esac\n"
    "done\n"
    "must 'CONFIG SET save \"3600 1 300 100 60 10000\"'\n";

int
redis_load(const struct engine_place *place, struct process_spec *out, struct coffer_error *err)
{
    char check[ENGINE_PATH_MAX];
    int rc = redis_program(place, "redis-check-rdb", check, err);

    return rc != COFFER_OK ? rc : script(place, load_script, check, out, err);
}

/* A server with a log of commands reads no dump.rdb: the snapshot becomes the beginning of the log. */
static const char restore_script[] =
    "set -e\n"
    "root=$3 check=$4\n"
    "umask 077\n"
    "folder=$root/data/appendonlydir\n"
    "rm -rf -- \"$folder\"\n"
    "mkdir \"$folder\"\n"
    "cat >\"$folder/appendonly.aof.1.base.rdb\"\n"
    "\"$check\" \"$folder/appendonly.aof.1.base.rdb\" >&2\n"
    "echo 'file appendonly.aof.1.base.rdb seq 1 type b' >\"$folder/appendonly.aof.manifest\"\n"
    "sync \"$folder/appendonly.aof.1.base.rdb\" \"$folder/appendonly.aof.manifest\" \"$folder\" "
    "\"$root/data\"\n";

int
redis_restore(const struct engine_place *place, struct process_spec *out, struct coffer_error *err)
{
    char check[ENGINE_PATH_MAX];
    int rc = place_folders(place, err);

    if (rc == COFFER_OK)
        rc = redis_program(place, "redis-check-rdb", check, err);
    return rc != COFFER_OK ? rc : script(place, restore_script, check, out, err);
}
