/* SPDX-License-Identifier: Apache-2.0 */
/* Rotation against its floor: the same database's own chunked UPDATE of the same columns.
 *
 *     bench_rotate [--db URL] [--rows N] [--columns 1..6] [--rounds N] [--workers N]
 *
 * Two tables with the same sealed rows; each round updates one by plain SQL, 2 000 rows a
 * transaction, to other bytes of the same length, and moves the other to a new key with the worker
 * at full speed.  Prints rows/s of both, the ratio, and the peak memory; with several workers also
 * what one of them does, in the same round.  Without --db: an SQLite
 * file in a temporary folder, removed afterwards.  Tables bench_floor and bench_rotate of a
 * database that is given are dropped.
 */
#include "base/mem.h"
#include "rotate/internal.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define COLUMNS_MAX 6
#define FLOOR_ROWS 2000
#define ROUNDS_MAX 64

struct bench {
    const char *url;
    unsigned rows, columns, rounds, workers;
    bool sqlite;
    struct host_database database;
    struct keyring *keyring;
    struct codec *codec;
    struct keyring_column column[COLUMNS_MAX];
    struct rotation rotation;
    struct rotate_env env;
    struct rotate_options options;
    uint32_t key;
};

static void
die(const char *doing, const struct coffer_error *err)
{
    fprintf(stderr, "bench_rotate: %s: %s\n", doing, err->message);
    exit(1);
}

static double
seconds(void)
{
    return (double)os_real.now_us(&os_real) / 1e6;
}

/* Of this process: on SQLite all the work is in it, and other programs on the machine do not count. */
static double
cpu_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void
run(struct bench *b, const char *sql)
{
    struct coffer_error err = {0};

    if (db_run(b->database.db, sql, NULL, 0, NULL, &err) != COFFER_OK)
        die(sql, &err);
}

/* ---- the tables ---- */

static void
make_table(struct bench *b, const char *name)
{
    struct buf sql;

    buf_init(&sql, 10000);
    buf_format(&sql, "DROP TABLE IF EXISTS %s", name);
    run(b, buf_cstr(&sql));
    buf_clear(&sql);
    buf_format(&sql, "CREATE TABLE %s (id %s PRIMARY KEY NOT NULL", name,
               b->sqlite ? "INTEGER" : "bigint");
    for (unsigned i = 1; i <= b->columns; i++)
        buf_format(&sql, b->sqlite ? ", c%u text" : ", c%u text, c%u_sealed bytea", i, i);
    buf_str(&sql, ", other text)");
    run(b, buf_cstr(&sql));
    buf_clear(&sql);
    buf_format(&sql,
               b->sqlite ? "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE "
                           "i<%u) INSERT INTO %s (id, other"
                         : "WITH n(i) AS (SELECT generate_series(1, %u)) INSERT INTO %s (id, other",
               b->rows, name);
    for (unsigned i = 1; i <= b->columns; i++)
        buf_format(&sql, ", c%u", i);
    buf_str(&sql, ") SELECT i, 'what else a row holds, ' || i || ', some hundred bytes of names "
                  "and dates and notes'");
    for (unsigned i = 1; i <= b->columns; i++)
        buf_format(&sql, ", 'value %u of row ' || i", i);
    buf_str(&sql, " FROM n");
    run(b, buf_cstr(&sql));
    buf_wipe(&sql);
}

/* ---- the rotation ---- */

static void
new_key(struct bench *b)
{
    struct coffer_error err = {0};

    codec_free(b->codec);
    if (keyring_key_add(b->keyring, KEY_FIELD, "main", "bench", 1, &b->key, &err) != COFFER_OK ||
        keyring_key_move(b->keyring, b->key, KEY_ACTIVE, 1, &err) != COFFER_OK ||
        codec_new(b->keyring, &b->codec, &err) != COFFER_OK)
        die("a new key", &err);
}

struct helper {
    struct bench *b;
    const char *table;
    unsigned number;
    struct walk_stats stats;
};

static void *
helper_main(void *arg)
{
    struct helper *h = arg;
    struct bench *b = h->b;
    struct host_database database = b->database;
    struct walk_column columns[COLUMNS_MAX];
    char names[COLUMNS_MAX][2][32];
    struct db_table *table = NULL;
    struct walk_table walk = {.columns = columns, .count = b->columns};
    struct coffer_error err = {0};
    struct worker worker = {.env = &b->env,
                            .options = &b->options,
                            .database = &database,
                            .rotation = &b->rotation,
                            .codec = b->codec,
                            .step = "drain"};

    if (db_open(b->url, true, NULL, &database.db, &err) != COFFER_OK ||
        journal_db_new(database.db, &database.rows, &err) != COFFER_OK)
        die("connecting", &err);
    database.journal.store = database.rows;
    snprintf(worker.owner, sizeof worker.owner, "bench:%ld:%u", (long)getpid(), h->number);
    if (db_table_open(database.db, h->table, &table, &err) != COFFER_OK)
        die("the table", &err);
    for (unsigned i = 0; i < b->columns; i++) {
        snprintf(names[i][0], sizeof names[i][0], "c%u", i + 1);
        snprintf(names[i][1], sizeof names[i][1], "c%u_sealed", i + 1);
        columns[i] =
            (struct walk_column){.column = &b->column[i],
                                 .want = {.cell = {.plain = names[i][0],
                                                   .sealed = b->sqlite ? NULL : names[i][1],
                                                   .type = COFFER_TEXT,
                                                   .sql_type = "text"},
                                          .goal = DB_GOAL_SEAL,
                                          .target_key = b->key}};
    }
    walk.table = table;
    if (worker_walk(&worker, &walk, &h->stats, &err) != COFFER_OK)
        die("the walk", &err);
    db_table_free(table);
    journal_db_free(database.rows);
    db_close(database.db);
    return NULL;
}

/* Move a table to the newest key; rows a second. */
static double
walk(struct bench *b, const char *table)
{
    struct helper helpers[16] = {{0}};
    pthread_t threads[16];
    struct coffer_error err = {0};
    double begun;
    uint64_t done = 0;

    b->rotation.pass++;
    if (journal_put(&b->database.journal, "rotation", b->rotation.id, bytes_str("{}"),
                    b->rotation.epoch, &err) != COFFER_OK)
        die("the record", &err);
    b->rotation.epoch++;
    begun = seconds();
    for (unsigned i = 0; i < b->workers; i++) {
        helpers[i] = (struct helper){.b = b, .table = table, .number = i};
        if (pthread_create(&threads[i], NULL, helper_main, &helpers[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < b->workers; i++) {
        pthread_join(threads[i], NULL);
        done += helpers[i].stats.rows_done;
    }
    if (done != b->rows) {
        fprintf(stderr, "bench_rotate: %" PRIu64 " of %u rows were moved\n", done, b->rows);
        exit(1);
    }
    return (double)done / (seconds() - begun);
}

/* ---- the floor ---- */

static double
floor_update(struct bench *b, const char *table)
{
    struct coffer_error err = {0};
    double begun = seconds();
    struct buf sql;

    buf_init(&sql, 10000);
    buf_format(&sql, "UPDATE %s SET ", table);
    for (unsigned i = 1; i <= b->columns; i++)
        buf_format(&sql,
                   b->sqlite ? "%sc%u=CAST(substr(c%u,2)||substr(c%u,1,1) AS BLOB)"
                             : "%sc%u_sealed=substr(c%u_sealed,2)||substr(c%u_sealed,1,1)",
                   i > 1 ? ", " : "", i, i, i);
    buf_str(&sql, " WHERE id>$1 AND id<=$2");
    for (unsigned at = 0; at < b->rows; at += FLOOR_ROWS) {
        struct coffer_value params[2] = {{.type = COFFER_INT64, .i64 = at},
                                         {.type = COFFER_INT64, .i64 = at + FLOOR_ROWS}};

        if (db_run(b->database.db, buf_cstr(&sql), params, 2, NULL, &err) != COFFER_OK)
            die("the floor", &err);
    }
    buf_wipe(&sql);
    return b->rows / (seconds() - begun);
}

/* ---- all ---- */

static void
setup(struct bench *b)
{
    const uint8_t root[32] = {1};
    struct coffer_error err = {0};
    struct kek *kek = NULL;

    if (kek_key_new(bytes_of(root, 32), &kek, &err) != COFFER_OK ||
        keyring_new(kek, "bench", 1, &b->keyring, &err) != COFFER_OK)
        die("a keyring", &err);
    kek_close(kek);
    if (uuid_new(&b->database.id, &err) != COFFER_OK ||
        db_open(b->url, true, NULL, &b->database.db, &err) != COFFER_OK)
        die("connecting", &err);
    b->sqlite = db_engine(b->database.db) == DB_SQLITE;
    if (b->sqlite)
        run(b, "PRAGMA journal_mode=WAL");
    if (db_catalog_install(b->database.db, &err) != COFFER_OK ||
        journal_db_new(b->database.db, &b->database.rows, &err) != COFFER_OK)
        die("the working tables", &err);
    b->database.journal = (struct journal){
        .store = b->database.rows, .keyring = b->keyring, .database = b->database.id};
    for (unsigned i = 0; i < b->columns; i++) {
        struct keyring_column *c = &b->column[i];

        *c = (struct keyring_column){.type = COFFER_TEXT,
                                     .binding = COFFER_BIND_COLUMN,
                                     .suite = COFFER_SUITE_XAES,
                                     .phase = COFFER_DUAL,
                                     .table = "bench_rotate",
                                     .line = "main",
                                     .sql_type = "text"};
        snprintf(c->name, sizeof c->name, "c%u", i + 1);
        if (uuid_new(&c->id, &err) != COFFER_OK)
            die("an id", &err);
    }
    uuid_format(&b->database.id, b->rotation.id);
    b->env = (struct rotate_env){.os = &os_real, .who = "bench", .url = b->url};
    b->options.throttle.duty = 1;
}

/* The most memory that this program ever had, as the kernel counts it. */
static long
peak_kib(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[200];
    long kib = -1;

    while (file != NULL && kib < 0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    if (file != NULL)
        fclose(file);
    return kib;
}

static int
ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void
print_ratios(const char *what, double *ratios, unsigned count)
{
    qsort(ratios, count, sizeof *ratios, ascending);
    printf("%s: ratio %.2f (%.2f to %.2f)\n", what, ratios[count / 2], ratios[0],
           ratios[count - 1]);
}

/* A rotation by `workers`. */
static double
rotate(struct bench *b, const char *table, unsigned workers)
{
    unsigned given = b->workers;
    double rate;

    new_key(b);
    b->workers = workers;
    rate = walk(b, table);
    b->workers = given;
    return rate;
}

static void
bench(struct bench *b)
{
    const char *floor_table, *rotate_table;
    double ratios[ROUNDS_MAX], speedups[ROUNDS_MAX];

    setup(b);
    floor_table = b->sqlite ? "bench_floor" : "public.bench_floor";
    rotate_table = b->sqlite ? "bench_rotate" : "public.bench_rotate";
    make_table(b, floor_table);
    make_table(b, rotate_table);
    new_key(b);
    printf("%s, %u rows, %u columns, %u workers\n", db_engine_name(b->database.db), b->rows,
           b->columns, b->workers);
    printf("protect (from plaintext): %.0f rows/s\n", walk(b, rotate_table));
    walk(b, floor_table);
    for (unsigned i = 0; i < b->rounds; i++) {
        double plain, rate, alone = 0, before, between, after;

        before = cpu_seconds();
        plain = floor_update(b, floor_table);
        between = cpu_seconds();
        rate = rotate(b, rotate_table, b->workers);
        after = cpu_seconds();
        ratios[i] = rate / plain;
        printf("round %u: UPDATE %.0f rows/s, rotation %.0f rows/s, ratio %.2f", i + 1, plain, rate,
               ratios[i]);
        if (b->sqlite)
            printf("; CPU %.1f and %.1f us a row, ratio %.2f", (between - before) * 1e6 / b->rows,
                   (after - between) * 1e6 / b->rows, (between - before) / (after - between));
        if (b->workers > 1) {
            alone = rotate(b, rotate_table, 1);
            speedups[i] = rate / alone;
            printf("; one worker %.0f rows/s", alone);
        }
        printf("\n");
        fflush(stdout);
    }
    print_ratios("rotation to UPDATE", ratios, b->rounds);
    if (b->workers > 1)
        print_ratios("several workers to one", speedups, b->rounds);
    printf("peak memory %ld MiB\n", peak_kib() / 1024);
    codec_free(b->codec);
    keyring_free(b->keyring);
    journal_db_free(b->database.rows);
    db_close(b->database.db);
}

int
main(int argc, char **argv)
{
    struct bench b = {.rows = 200000, .columns = 1, .rounds = 3, .workers = 1};
    char folder[] = "/tmp/coffer-bench-XXXXXX";
    char url[100], command[100];

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--db") == 0)
            b.url = argv[i + 1];
        else if (strcmp(argv[i], "--rows") == 0)
            b.rows = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--columns") == 0)
            b.columns = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--rounds") == 0)
            b.rounds = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--workers") == 0)
            b.workers = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else
            argc = 0;
    }
    if (argc % 2 == 0 || b.rows == 0 || b.rounds - 1 >= ROUNDS_MAX ||
        b.columns - 1 >= COLUMNS_MAX || b.workers - 1 >= 16) {
        fprintf(stderr, "usage: bench_rotate [--db URL] [--rows N] [--columns 1..6] [--rounds N] "
                        "[--workers 1..16]\n");
        return 2;
    }
    if (b.url != NULL) {
        bench(&b);
        return 0;
    }
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(url, sizeof url, "sqlite:%s/bench.db", folder);
    fclose(fopen(url + 7, "w"));
    b.url = url;
    bench(&b);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) != 0;
}
