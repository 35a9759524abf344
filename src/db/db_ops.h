/* SPDX-License-Identifier: Apache-2.0 */
/* What an adapter implements; each member does what the function of its name in db.h says. */
#ifndef COFFER_DB_DB_OPS_H
#define COFFER_DB_DB_OPS_H

#include "db/db.h"

struct db {
    const struct db_ops *ops; /* first member of every adapter's own struct */
    enum db_engine engine;
    double held_ms; /* db_held_ms() */
};
struct db_walk {
    struct db *db; /* first member of every adapter's own struct */
};

struct db_ops {
    void (*close)(struct db *);
    void (*cancel)(struct db *);
    int (*incarnation)(struct db *, char *, struct coffer_error *);
    int (*run)(struct db *, const char *, const struct coffer_value *, size_t, struct db_result **,
               struct coffer_error *);
    int (*stream)(struct db *, const char *, const struct coffer_value *, size_t, db_row_fn, void *,
                  struct coffer_error *);
    int (*begin)(struct db *, enum db_txn, struct coffer_error *);
    int (*commit)(struct db *, struct coffer_error *);
    void (*rollback)(struct db *);
    const char *(*catalog_name)(const char *);
    int (*catalog_install)(struct db *, struct coffer_error *);
    int (*catalog_present)(struct db *, bool *, struct coffer_error *);
    int (*catalog_grants)(const char *, struct buf *);
    int (*table_open)(struct db *, const char *, struct db_table **, struct coffer_error *);
    int (*obstacles)(struct db *, const struct db_table *, const struct db_cell_spec *,
                     struct db_obstacles *, struct coffer_error *);
    int (*phase_apply)(struct db *, const struct db_table *, const struct db_cell_spec *, int, int,
                       struct coffer_error *);
    int (*walk_open)(struct db *, const struct db_table *, const struct db_want *, size_t,
                     struct db_walk **, struct coffer_error *);
    void (*walk_close)(struct db_walk *);
    int (*walk_bound)(struct db_walk *, const struct coffer_value *, uint64_t, struct db_result **,
                      bool *, struct coffer_error *);
    int (*walk_read)(struct db_walk *, const struct coffer_value *, const struct coffer_value *,
                     size_t, struct db_batch **, struct coffer_error *);
    int (*walk_write)(struct db_walk *, struct db_batch *, const struct db_guard *, unsigned,
                      const char *, struct coffer_error *);
    int (*count)(struct db *, const struct db_table *, const struct db_cell_spec *,
                 struct db_count **, struct coffer_error *);
    int (*count_estimate)(struct db *, const struct db_table *, const struct db_cell_spec *,
                          struct db_count **, struct coffer_error *);
    int (*fence_set)(struct db *, const struct db_table *, const struct db_fence *, size_t,
                     struct coffer_error *);
    int (*fence_constrain)(struct db *, const struct db_table *, const struct db_fence *, char *,
                           struct coffer_error *);
    int (*fence_unconstrain)(struct db *, const struct db_table *, const struct db_fence *,
                             struct coffer_error *);
    int (*mark_now)(struct db *, struct db_mark *, struct coffer_error *);
    int (*mark_passed)(struct db *, const struct db_mark *, struct coffer_error *);
    int (*replicas)(struct db *, db_line_fn, void *, struct coffer_error *);
    int (*others)(struct db *, bool *, size_t *, struct buf *, struct coffer_error *);
    int (*find_envelopes)(struct db *, const char *const *, size_t, db_find_fn, void *,
                          struct coffer_error *);
    int (*load)(struct db *, const struct db_table *, struct db_load *, struct coffer_error *);
    int (*clean)(struct db *, const struct db_table *, bool, struct coffer_error *);
    int (*files)(struct db *, const struct db_table *, size_t, db_file_fn, void *, bool *,
                 struct coffer_error *);
    int (*trial)(struct db *, const struct db_table *, const struct db_cell_spec *, unsigned,
                 struct db_trial *, struct coffer_error *);
    int (*sizes)(struct db *, uint64_t *, uint64_t *, struct coffer_error *);
};

/* One open function an engine. */
int db_sqlite_open(const char *path, const struct db_options *options, struct db **out,
                   struct coffer_error *err);
int db_postgres_open(const char *conninfo, const struct db_options *options, struct db **out,
                     struct coffer_error *err);

#endif
