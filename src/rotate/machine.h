/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the machine share: a session over keyring and database, gates, the drain, the
 * fence, the proof. */
#ifndef COFFER_ROTATE_MACHINE_H
#define COFFER_ROTATE_MACHINE_H

#include "ledger/audit.h"
#include "rotate/internal.h"

/* ---- session: one command's view of the keyring and of one database ---- */

struct session {
    const struct rotate_env *env;
    const struct rotate_options *options;
    struct keyring *keyring; /* the newest we know */
    struct host_database *database;
    struct codec *codec; /* over `keyring`; made when asked for */
    char owner[64];      /* of chunks: the same after a lost connection, so that ours need no lease to run out */
    struct constraint_name {
        struct uuid column;
        char name[DB_NAME_MAX];
    } constraints[64]; /* as the last fence named them, for the certificate */
    size_t constraint_count;
};
/* Load the keyring and connect.  On failure nothing is held. */
COFFER_MUST_CHECK int session_open(struct session *s, const struct rotate_env *env,
                                   const struct rotate_options *options, struct coffer_error *err);
void session_close(struct session *s);
/* Connect anew after LOST, with back-off, for about a minute. */
COFFER_MUST_CHECK int session_reconnect(struct session *s, struct coffer_error *err);
/* Look at the keyring again. */
COFFER_MUST_CHECK int session_refresh(struct session *s, struct coffer_error *err);
/* Audited change of the keyring, durable and read back; the database is then told the new epoch. */
COFFER_MUST_CHECK int session_change(struct session *s, const char *event, const char *details,
                                     keyring_change change, void *arg, struct coffer_error *err);
COFFER_MUST_CHECK int session_codec(struct session *s, struct codec **out,
                                    struct coffer_error *err);
/* REFUSED unless registered and not restored. */
COFFER_MUST_CHECK int session_require_registered(struct session *s, struct coffer_error *err);
/* Who this session is to other workers: "host:pid:random". */
const char *session_owner(struct session *s);
/* Who is in a transaction that may hold what we wait for, in words; "another transaction" if nothing is known. */
void session_blame(struct session *s, char *out, size_t max);
/* Connections of others: 0 if nobody else, or unknown on this engine. */
COFFER_MUST_CHECK int session_others(struct session *s, size_t *count, struct buf *who,
                                     struct coffer_error *err);

/* ---- names ---- */

/* Find columns of this database by name ("table.column", with or without schema).  Every one when
 * count is 0.
 * `*out` is an array of ids the caller frees with mem_free().  NOTFOUND names the first that is
 * none. */
COFFER_MUST_CHECK int columns_resolve(struct session *s, const char *const *names, size_t count,
                                      struct uuid **out, size_t *out_count,
                                      struct coffer_error *err);

/* ---- tables open for a walk or a fence ---- */

struct table_set {
    struct {
        struct db_table *table;
        struct walk_column *columns;
        size_t count;
    } * items;
    size_t count;
};
/* Group columns by table, open each, and say what each cell should become (walk_goal); columns with
 * nothing to do are left out. Pointers to columns are into s->keyring: valid until its next change.
 */
COFFER_MUST_CHECK int table_set_open(struct session *s, const struct rotation *rotation,
                                     struct table_set *out, struct coffer_error *err);
/* What a walk of this rotation makes of a column's cells in its phase; 0: nothing. */
enum db_goal walk_goal(const struct keyring_column *column, const struct rotation *rotation);
void table_set_close(struct table_set *set);
/* The table of a protected column; NOTFOUND says what to do when it is gone. */
COFFER_MUST_CHECK int column_table(struct session *s, const struct keyring_column *column,
                                   struct db_table **out, struct coffer_error *err);
void column_cell_spec(const struct keyring_column *column, struct db_cell_spec *spec);

/* ---- gates ---- */

/* Wait until every live or declared client has shown `epoch`.  NOTYET with no_wait; CANCELLED when
 * asked to stop or paused. */
COFFER_MUST_CHECK int gate_wait(struct session *s, struct rotation *rotation, uint64_t epoch,
                                const char *what, struct coffer_error *err);
/* For whom the gate would wait: COFFER_OK when open, NOTYET with names.  A waiver holds for the whole rotation (NULL: none). */
COFFER_MUST_CHECK int gate_check(struct session *s, const struct rotation *rotation, uint64_t epoch,
                                 size_t *live, struct coffer_error *err);
/* Wait `ms`, saying so, unless stopped; nothing with 0. */
COFFER_MUST_CHECK int wait_for(struct session *s, struct rotation *rotation, const char *step,
                               int64_t until_us, const char *what, struct coffer_error *err);
/* Settle and grace as given, or the default: PostgreSQL 5 min / 1 h when a client or another
 * connection was seen, else 0. */
COFFER_MUST_CHECK int settle_ms(struct session *s, unsigned *out, struct coffer_error *err);
COFFER_MUST_CHECK int grace_ms(struct session *s, unsigned *out, struct coffer_error *err);
/* CANCELLED when stop was asked; waits while the record is paused (NOTYET with no_wait); reloads
 * it. */
COFFER_MUST_CHECK int rotation_check(struct session *s, struct rotation *rotation,
                                     struct coffer_error *err);
/* Enter a step: saved before anything of it happens. */
COFFER_MUST_CHECK int rotation_enter(struct session *s, struct rotation *rotation,
                                     enum rotation_step step, struct coffer_error *err);

/* ---- drain ---- */

struct drain_result {
    struct walk_stats stats;
    uint64_t quarantined;
    unsigned passes;
};
/* Walk all tables again and again until a pass finds nothing to do but what is in quarantine.
 * CONFLICT: the record was taken to another step or is being aborted; the caller looks at it again.
 */
COFFER_MUST_CHECK int drain(struct session *s, struct rotation *rotation, const char *step,
                            struct drain_result *result, struct coffer_error *err);
/* What all workers together did in a pass, from its chunks. */
COFFER_MUST_CHECK int pass_totals(struct session *s, const struct rotation *rotation, uint32_t pass,
                                  struct walk_stats *out, struct coffer_error *err);

/* ---- fence and proof ---- */

/* Install, on each table that holds one of these columns, the fence that the keyring asks for: keys
 * that are fenced or certified here, and `fencing_key` (0: none), are refused; plaintext is refused
 * in phase sealed and, with `closing`, in the columns given. */
COFFER_MUST_CHECK int fence_tables(struct session *s, const struct uuid *ids, size_t count,
                                   bool closing, uint32_t fencing_key, struct coffer_error *err);
/* The same as validated CHECKs where the engine has them.  Waits for older transactions; CONFLICT:
 * sweep again. */
COFFER_MUST_CHECK int fence_constrain(struct session *s, struct rotation *rotation,
                                      const struct uuid *ids, size_t count, bool closing,
                                      uint32_t fencing_key, struct coffer_error *err);
COFFER_MUST_CHECK int fence_unconstrain(struct session *s, const struct uuid *ids, size_t count,
                                        struct coffer_error *err);
/* Count of each column in one snapshot. */
struct column_count {
    const struct keyring_column *column;
    struct db_count *count;
};
COFFER_MUST_CHECK int count_columns(struct session *s, const struct uuid *ids, size_t n,
                                    struct column_count **out, struct coffer_error *err);
void column_counts_free(struct column_count *counts, size_t n);
uint64_t count_under(const struct db_count *count, uint32_t key_id);
/* Scan, look for unregistered envelopes, sign.  REFUSED with counts. */
COFFER_MUST_CHECK int prove(struct session *s, uint32_t key_id, struct db_mark *mark,
                            struct buf *certificate, struct coffer_error *err);
/* Certificate into the files beside the keyring and its digest into the keyring; the key becomes
 * proven when every database has one. */
COFFER_MUST_CHECK int certify(struct session *s, uint32_t key_id, struct bytes certificate,
                              bool *everywhere, struct coffer_error *err);

/* How gone a column's plaintext is: 0 readable, 1 not selectable, 2 not in live tuples, 3 not in
 * the files. */
const char *plaintext_level_name(unsigned level);
COFFER_MUST_CHECK int plaintext_level(struct session *s, const struct uuid *column, unsigned *level,
                                      struct coffer_error *err);
COFFER_MUST_CHECK int plaintext_level_set(struct session *s, const struct uuid *column,
                                          unsigned level, struct coffer_error *err);

/* Steps that have a file of their own; each enters the next one in the record. */
COFFER_MUST_CHECK int step_wait(struct session *s, struct rotation *r, struct coffer_error *err);   /* machine_finish.c */
COFFER_MUST_CHECK int step_escrow(struct session *s, struct rotation *r, struct coffer_error *err); /* machine_finish.c */
COFFER_MUST_CHECK int step_reverse(struct session *s, struct rotation *r, struct coffer_error *err); /* abort.c */

/* ---- rotation of one line, from any step on ---- */
COFFER_MUST_CHECK int machine_run(struct session *s, struct rotation *rotation,
                                  struct coffer_error *err);
/* The database's incarnation becomes `random` (a rotation's id), in the keyring first. */
COFFER_MUST_CHECK int incarnation_renew(struct session *s, const char *random,
                                        struct coffer_error *err);
/* A restored or cloned database: keys back from escrow, records parked, columns brought to the form that the keyring
 * wants, the incarnation accepted.  REFUSED without options->restored when forms differ.  With plan_only it only says
 * what it would do. */
COFFER_MUST_CHECK int recover(struct session *s, struct coffer_error *err);

/* Change functions for session_change(), with their arguments. */
struct move_arg {
    uint32_t key_id;
    enum key_state state;
    int64_t now_us;
};
int change_move(struct keyring *kr, void *arg, struct coffer_error *err);
struct phase_arg {
    const struct uuid *ids;
    size_t count;
    int phase;
};
int change_phase(struct keyring *kr, void *arg, struct coffer_error *err);

#endif
