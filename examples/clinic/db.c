/* SPDX-License-Identifier: Apache-2.0 */
/* URLs, and the way from each function of db.h to the engine. */
#include "db.h"

#include <stdio.h>
#include <string.h>

const char *const clinic_table_name[CLINIC_TABLES] = {"patients", "labs", "invoices"};
const char *const clinic_table_columns[CLINIC_TABLES] = {
    "id,name,ssn,born,phone,email,diagnosis,notes", "patient_id,code,value,taken",
    "patient_id,amount,issued"};

struct clinic_db *
clinic_db_open(const char *url)
{
    if (strncmp(url, "sqlite:", 7) == 0)
        return clinic_sqlite_open(url + 7);
    if (strncmp(url, "postgresql://", 13) == 0 || strncmp(url, "postgres://", 11) == 0)
        return clinic_postgres_open(url);
    if (strncmp(url, "postgresql:service=", 19) == 0)
        return clinic_postgres_open(url + 11);
    fprintf(stderr, "clinic: %s is no database: sqlite:PATH or postgresql://… are possible\n", url);
    return NULL;
}

int
clinic_db_failed(struct clinic_db *db, const char *what, const char *why)
{
    size_t len;

    snprintf(db->error, sizeof db->error, "%s: %s", what, why);
    for (len = strlen(db->error); len > 0 && db->error[len - 1] == '\n'; len--)
        db->error[len - 1] = '\0'; /* libpq ends its messages so */
    return CLINIC_FAILED;
}

void
clinic_db_close(struct clinic_db *db)
{
    if (db != NULL)
        db->ops->close(db);
}

int
clinic_db_begin(struct clinic_db *db)
{
    return db->ops->begin(db);
}

int
clinic_db_add(struct clinic_db *db, enum clinic_table table, const char *const *fields)
{
    return db->ops->add(db, table, fields);
}

int
clinic_db_end(struct clinic_db *db)
{
    return db->ops->end(db);
}

int
clinic_db_patients(struct clinic_db *db, long *count)
{
    return db->ops->patients(db, count);
}

int
clinic_db_serve(struct clinic_db *db, const struct coffer_column *const columns[CLINIC_CELLS])
{
    return db->ops->serve(db, columns);
}

int
clinic_db_read(struct clinic_db *db, long id, struct coffer_stored stored[CLINIC_CELLS])
{
    return db->ops->read(db, id, stored);
}

int
clinic_db_write_email(struct clinic_db *db, long id, const struct coffer_stored *email)
{
    return db->ops->write_email(db, id, email);
}
