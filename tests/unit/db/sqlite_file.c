/* SPDX-License-Identifier: Apache-2.0 */
#include "sqlite_file.h"

#include "base/mem.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int
sqlite_file_setup(void **state)
{
    struct sqlite_file *file = mem_alloc(sizeof *file);
    struct db_options quick = {.busy_ms = 20};
    struct coffer_error err = {0};
    int fd;

    snprintf(file->path, sizeof file->path, "/tmp/coffer-test-XXXXXX");
    fd = mkstemp(file->path);
    if (fd < 0)
        return -1;
    close(fd);
    snprintf(file->url, sizeof file->url, "sqlite:%s", file->path);
    if (db_open(file->url, false, &quick, &file->db, &err) != COFFER_OK ||
        db_open(file->url, false, &quick, &file->other, &err) != COFFER_OK) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    *state = file;
    return 0;
}

int
sqlite_file_teardown(void **state)
{
    static const char *const ENDS[] = {"", "-wal", "-shm", "-journal"};
    struct sqlite_file *file = *state;
    char path[80];
    size_t i;

    db_close(file->db);
    db_close(file->other);
    for (i = 0; i < sizeof ENDS / sizeof *ENDS; i++) {
        snprintf(path, sizeof path, "%s%s", file->path, ENDS[i]);
        unlink(path);
    }
    mem_free(file);
    return 0;
}

int
sql_try(struct db *db, const char *sql, struct coffer_error *err)
{
    return db_run(db, sql, NULL, 0, NULL, err);
}

/* One statement a line that ends in a semicolon. */
void
sql_run(struct db *db, const char *sql)
{
    char *copy = mem_strdup(sql), *at = copy, *statement;

    while ((statement = strsep(&at, "\n")) != NULL) {
        struct coffer_error err = {0};

        if (*statement != '\0' && sql_try(db, statement, &err) != COFFER_OK)
            fail_msg("%s: %s", statement, err.message);
    }
    mem_free(copy);
}

const char *
sql_text(struct db *db, const char *sql)
{
    static char text[4][512];
    static unsigned turn;
    struct db_result *result = NULL;
    struct coffer_error err = {0};
    char *out = text[turn++ % 4];

    if (db_run(db, sql, NULL, 0, &result, &err) != COFFER_OK)
        fail_msg("%s: %s", sql, err.message);
    out[0] = '\0';
    if (result->rows > 0) {
        const struct coffer_value *cell = &result->cells[0];

        if (cell->type == COFFER_INT64)
            snprintf(out, sizeof text[0], "%lld", (long long)cell->i64);
        else if (cell->type == COFFER_FLOAT64)
            snprintf(out, sizeof text[0], "%.17g", cell->f64);
        else if (cell->type != COFFER_NULL)
            snprintf(out, sizeof text[0], "%.*s", (int)cell->len, (const char *)cell->data);
    }
    db_result_free(result);
    return out;
}

struct db_table *
table_of(struct db *db, const char *name)
{
    struct db_table *table = NULL;
    struct coffer_error err = {0};

    if (db_table_open(db, name, &table, &err) != COFFER_OK)
        fail_msg("%s: %s", name, err.message);
    return table;
}

struct coffer_value
int_value(int64_t v)
{
    return (struct coffer_value){.type = COFFER_INT64, .i64 = v};
}

struct coffer_value
text_value(const char *text)
{
    return (struct coffer_value){
        .type = COFFER_TEXT, .data = (const uint8_t *)text, .len = strlen(text)};
}

struct bytes
envelope(uint32_t key_id, uint8_t fill)
{
    static uint8_t pool[8][64];
    uint8_t *cell = pool[fill % 8];

    memset(cell, fill, 64);
    cell[0] = 0xf9;
    cell[1] = 1;
    cell[2] = 1;
    cell[3] = COFFER_TEXT;
    put_be32(cell + 4, key_id);
    return (struct bytes){cell, 64};
}
