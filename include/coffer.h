/* SPDX-License-Identifier: Apache-2.0 */
/* libcoffer: seal and open single values, under keys that can be changed while in use.
 *
 * Bytes in, bytes out: nothing here opens a file, a socket or a database, starts a thread, or reads the
 * environment.  What a program needs around it (the keyring file watched, heartbeats) is in coffer_host.h.
 *
 * Thread safety: a `struct coffer` and its columns may be used from any number of threads; so may one
 * handle across coffer_update().  Fork safety: a handle made before fork() works in parent and child; no
 * nonce is ever produced twice.  A `struct coffer_error` belongs to its caller.
 *
 * Formats: docs/FORMAT.md.  Every length is in bytes, every id is an unsigned number shown as 8 lower-case hex.
 */
#ifndef COFFER_H
#define COFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define COFFER_MUST_CHECK __attribute__((warn_unused_result))
#define COFFER_PUBLIC __attribute__((visibility("default")))
#else
#define COFFER_MUST_CHECK
#define COFFER_PUBLIC
#endif

/* Status values are ABI: append only. */
enum coffer_status {
    COFFER_OK = 0,
    COFFER_E_MISUSE = 1,       /* the caller broke the contract of the function */
    COFFER_E_NOMEM = 2,        /* out of memory, or of lockable memory */
    COFFER_E_FORMAT = 3,       /* bytes that are not what they should be; found before any key was used, or after */
    COFFER_E_AUTH = 4,         /* authentication failed: wrong key, wrong place, or changed bytes */
    COFFER_E_KEY = 5,          /* the keyring does not hold this key id (or holds it no more) */
    COFFER_E_STALE = 6,        /* the keyring was not confirmed within the lease: nothing may be sealed */
    COFFER_E_LIMIT = 7,        /* a size, count or cost above what is allowed */
    COFFER_E_IO = 8,           /* a file could not be read or written */
    COFFER_E_EXISTS = 9,       /* would overwrite */
    COFFER_E_NOTFOUND = 10,    /* no such table, column, key, file, … */
    COFFER_E_REFUSED = 11,     /* a safety rule forbids it; the message names the rule and the way out */
    COFFER_E_NOTYET = 12,      /* a gate is closed; the message says for whom it waits */
    COFFER_E_DB = 13,          /* the database refused a statement */
    COFFER_E_LOST = 14,        /* the connection was lost; what was under way may or may not have happened */
    COFFER_E_CONFLICT = 15,    /* somebody else was there first: try again */
    COFFER_E_ROLLBACK = 16,    /* an older keyring than one that was already seen */
    COFFER_E_UNSUPPORTED = 17, /* a type, engine, or version that this build does not do */
    COFFER_E_TYPE = 18,        /* a value that its column's type cannot hold */
    COFFER_E_CANCELLED = 19,   /* Ctrl-C, pause, or a deadline; work can be resumed */
    COFFER_E_PLAINTEXT = 20,   /* a sealed column held plaintext, which is never returned as data */
    COFFER_E_KEK = 21,         /* the key-encryption key is wrong, or its provider cannot be reached */
    COFFER_E_MANGLED = 22,     /* the database stored something other than what was sent to it */
    COFFER_E_TAMPERED = 23,    /* a record of ours in the database was edited, moved or replayed */
    COFFER_E_RANGE = 24,       /* a value outside the domain that its column declares */
};

/* Set by the function that fails, once, where the cause is known.  `message` is one line of UTF-8 with no secret in it. */
struct coffer_error {
    int status;
    char message[500];
};

/* The name of a status in lower case, e.g. "auth"; "unknown" for others.  Static storage. */
COFFER_PUBLIC const char *coffer_status_name(int status);

/* "1.0.0".  Static storage. */
COFFER_PUBLIC const char *coffer_version(void);

/* ---- values ---- */

enum coffer_type { /* the type byte of the envelope */
    COFFER_NULL = 0,
    COFFER_BYTES = 1,
    COFFER_TEXT = 2,
    COFFER_BOOL = 3,
    COFFER_INT64 = 4,
    COFFER_FLOAT64 = 5,
    COFFER_NUMERIC = 6,
    COFFER_DATE = 7,
    COFFER_TIMESTAMP = 8,
    COFFER_UUID = 9,
    COFFER_JSON = 10,
};

/* One value.  A borrowed view: whatever `data` points at must outlive it.
 *   BOOL        i64 is 0 or 1
 *   INT64       i64
 *   FLOAT64     f64
 *   DATE        i64: days since 2000-01-01, within int32; INT32_MIN and INT32_MAX are -infinity and infinity
 *   TIMESTAMP   i64: microseconds since 2000-01-01 00:00 UTC; INT64_MIN and INT64_MAX are -infinity and infinity
 *   BYTES       data, len
 *   TEXT, JSON  data, len: well-formed UTF-8
 *   NUMERIC     data, len: decimal text as written, [-]digits[.digits], or NaN, Infinity, -Infinity
 *   UUID        data, len = 16
 */
struct coffer_value {
    int type; /* enum coffer_type; COFFER_NULL is SQL NULL, which is never sealed: NULL stays NULL */
    int64_t i64;
    double f64;
    const uint8_t *data;
    size_t len;
};

/* The place of a cell: its primary key in declared order.  Used with row binding, ignored otherwise. */
struct coffer_place {
    const struct coffer_value *parts;
    size_t count;
};

enum coffer_binding { COFFER_BIND_NONE = 0, COFFER_BIND_COLUMN = 1, COFFER_BIND_ROW = 2 };
enum coffer_suite { COFFER_SUITE_XAES = 1, COFFER_SUITE_XAES_COMMIT = 2 };

/* How a column's cells are to be read and written; docs/ROTATION.md, "Phases". */
enum coffer_phase { COFFER_OFF = 0, COFFER_SHADOW = 1, COFFER_DUAL = 2, COFFER_SEALED = 3 };

/* Names of these, as the commands show and take them.  _name: static storage, "?" if unknown.  _parse: 0 or -1 if unknown. */
COFFER_PUBLIC const char *coffer_type_name(int type);
COFFER_PUBLIC int coffer_type_parse(const char *name);
COFFER_PUBLIC const char *coffer_phase_name(int phase);

/* ---- a keyring in use ---- */

struct coffer;
struct coffer_column;

enum coffer_kek_kind {
    COFFER_KEK_KEY = 1,        /* 32 random bytes */
    COFFER_KEK_PASSPHRASE = 2, /* UTF-8, Argon2id */
    COFFER_KEK_ROOT = 255      /* never in a file: the root key itself, 32 bytes, of whoever has unlocked it already */
};

/* Open a keyring held in memory.  `keyring` is the content of a keyring file; `secret` is borrowed and never kept.
 * Free with coffer_free().  Slow for a passphrase (about a second, 64 MiB or more).
 *
 * COFFER_E_FORMAT  not a keyring, truncated, or of a version this build does not read
 * COFFER_E_KEK     wrong key or passphrase, or the file was edited; the two cannot be told apart
 * COFFER_E_LIMIT   the file asks for more KDF memory than allowed
 * COFFER_E_NOMEM
 */
COFFER_PUBLIC COFFER_MUST_CHECK int coffer_new(const void *keyring, size_t keyring_len, int kek_kind,
                                               const void *secret, size_t secret_len,
                                               struct coffer **out, struct coffer_error *err);
COFFER_PUBLIC void coffer_free(struct coffer *coffer);

/* Put a newer content of the same keyring in use; calls under way finish under the old one.  Also confirms it
 * (coffer_confirm).  The root key is kept, so that a passphrase is asked once; after a KEK change, COFFER_E_KEK: open anew.
 * On failure the old content stays in use.
 *
 * COFFER_E_ROLLBACK  an older epoch than the one in use, or another keyring's id
 */
COFFER_PUBLIC COFFER_MUST_CHECK int coffer_update(struct coffer *coffer, const void *keyring, size_t keyring_len,
                                                  struct coffer_error *err);

/* Say that the content in use was just seen to be the newest.  Sealing is possible for COFFER_LEASE_MS after this. */
COFFER_PUBLIC void coffer_confirm(struct coffer *coffer);
#define COFFER_LEASE_MS 60000

COFFER_PUBLIC uint64_t coffer_epoch(const struct coffer *coffer);

/* How often values were sealed and opened under each key since the last call of this, for heartbeats.  Fills at most `max`
 * entries and returns how many there were in all. */
struct coffer_use {
    uint32_t key_id;
    uint64_t seals;
    uint64_t opens;
};
COFFER_PUBLIC size_t coffer_take_use(struct coffer *coffer, struct coffer_use *use, size_t max);

/* ---- columns ---- */

/* Find a column by its names: "table.column" or "schema.table.column".  `database` is its 16-byte id, or NULL where the
 * keyring knows one database only.  The handle stays valid, across coffer_update() too, until coffer_free().
 *
 * COFFER_E_NOTFOUND  no such protected column; the message lists near ones
 * COFFER_E_MISUSE    several columns bear the name: give schema or database
 */
COFFER_PUBLIC COFFER_MUST_CHECK int coffer_column_find(struct coffer *coffer, const uint8_t *database, const char *name,
                                                       const struct coffer_column **out, struct coffer_error *err);

/* What a column is now.  Strings live as long as the `struct coffer`. */
struct coffer_column_info {
    uint8_t id[16];
    int type, binding, suite, phase;
    uint32_t pad;           /* bytes; 0: none */
    uint32_t active_key_id; /* what coffer_seal() would use now */
    bool text_form;         /* the stored form is text */
    size_t key_parts;       /* parts of the place */
    const char *table;      /* as the keyring has it, with schema where there are schemas */
    const char *name;
    const char *sealed_name; /* the column that holds envelopes: a companion's name, or `name` itself */
};
COFFER_PUBLIC void coffer_column_info(const struct coffer_column *column, struct coffer_column_info *info);

/* ---- seal and open ---- */

/* An upper bound, in bytes, of what sealing a value of `plain_len` encoded bytes gives (text form included). */
COFFER_PUBLIC size_t coffer_sealed_max(const struct coffer_column *column, size_t plain_len);

/* One cell in a call.  For seal: `value` in, `sealed` out; for open: the other way.  `out` is the caller's memory for the
 * result; seal needs coffer_sealed_max(), open needs sealed_len.  For each cell `status` is set; the others go on. */
struct coffer_cell {
    const struct coffer_column *column;
    struct coffer_place place;
    struct coffer_value value;
    const uint8_t *sealed;
    size_t sealed_len;
    uint8_t *out;
    size_t out_max;
    int status;
};

/* Seal `count` cells under the active keys of their columns.  NULL values give sealed = NULL, sealed_len = 0.
 * Returns the first status that is not COFFER_OK, its message in `err`.
 *
 * COFFER_E_STALE  the lease has run out        COFFER_E_TYPE   value of another type, or malformed
 * COFFER_E_KEY    the column has no active key COFFER_E_LIMIT  `out_max` too small, or value too long
 */
COFFER_PUBLIC COFFER_MUST_CHECK int coffer_seal(struct coffer *coffer, struct coffer_cell *cells, size_t count,
                                                struct coffer_error *err);

/* Open `count` cells.  A NULL `sealed` gives a NULL value.  After a failure `value` is NULL and `out` holds no plaintext.
 * Suite, binding, type and column come from the column's definition: an envelope that says otherwise is COFFER_E_AUTH.
 *
 * COFFER_E_FORMAT  not an envelope   COFFER_E_KEY  unknown key   COFFER_E_AUTH  everything else
 */
COFFER_PUBLIC COFFER_MUST_CHECK int coffer_open(struct coffer *coffer, struct coffer_cell *cells, size_t count,
                                                struct coffer_error *err);

/* ---- cells as stored, by the column's phase ---- */

/* What a row holds for one protected column.  With a companion: `plain` from the column's own name, `sealed` from the companion.
 * In place there is one stored value: give it as `plain` if its storage class can be a plaintext of the column's type, as
 * `sealed` if it can be an envelope (SQLite: any BLOB; PostgreSQL text form: any text), as both where the class cannot tell. */
struct coffer_stored {
    struct coffer_value plain;
    const uint8_t *sealed; /* NULL: NULL */
    size_t sealed_len;
};

/* The value of a stored cell, as the phase says:
 *   off          the plaintext
 *   shadow       the plaintext; where it is NULL, the envelope (a client that is a step ahead wrote it)
 *   dual         the envelope if there is one, else the plaintext
 *                (shadow and dual in place: what opens at its place is an envelope, anything else plaintext)
 *   sealed       the envelope; a plaintext is COFFER_E_PLAINTEXT, never data
 * `out` holds max(sealed_len, plain.len) bytes; `value` borrows from `out` or from `stored`.  Errors as coffer_open(). */
COFFER_PUBLIC COFFER_MUST_CHECK int coffer_cell_read(struct coffer *coffer, const struct coffer_column *column,
                                                     struct coffer_place place, const struct coffer_stored *stored,
                                                     uint8_t *out, size_t out_max, struct coffer_value *value,
                                                     struct coffer_error *err);
/* What to store for `value`: off, shadow: `plain`; dual, sealed: a fresh envelope in `sealed` (in `out`, coffer_sealed_max() bytes)
 * and `plain` NULL.  With a companion write both columns in one statement, always.  Errors as coffer_seal(). */
COFFER_PUBLIC COFFER_MUST_CHECK int coffer_cell_write(struct coffer *coffer, const struct coffer_column *column,
                                                      struct coffer_place place, const struct coffer_value *value,
                                                      uint8_t *out, size_t out_max, struct coffer_stored *stored,
                                                      struct coffer_error *err);

/* ---- search terms ---- */

/* What stands beside an envelope, to be written in the same statement: the columns' values, by the index definitions of the keyring. */
struct coffer_term {
    const char *column;         /* its name; of tokens on SQLite, the end of the side table's name: TABLE_column(tok, id) */
    struct coffer_value value;  /* BYTES or INT64; NULL with a NULL value, and for tokens */
    const int64_t *tokens;      /* of a text index, ascending; else NULL */
    size_t token_count;
};
struct coffer_terms;
/* The terms of `value` under all indexes of the column that are written now.  A sum draws a new id each time: store what this gives once.
 * `*out` owns its memory; free with coffer_terms_free(), which overwrites it.
 *
 * COFFER_E_STALE  as coffer_seal()      COFFER_E_RANGE  outside what an index declares      COFFER_E_TYPE, COFFER_E_FORMAT, COFFER_E_LIMIT
 * COFFER_E_KEY    an index has no active key */
COFFER_PUBLIC COFFER_MUST_CHECK int coffer_terms(struct coffer *coffer, const struct coffer_column *column,
                                                 const struct coffer_value *value, struct coffer_terms **out,
                                                 struct coffer_error *err);
COFFER_PUBLIC size_t coffer_terms_count(const struct coffer_terms *terms);
COFFER_PUBLIC const struct coffer_term *coffer_terms_at(const struct coffer_terms *terms, size_t i); /* NULL beyond the last */
COFFER_PUBLIC void coffer_terms_free(struct coffer_terms *terms); /* accepts NULL */

/* ---- without any key ---- */

#define COFFER_KEY_ID_LEN 4

/* What an envelope (or its text form) says of itself.  Nothing of it is authenticated. */
struct coffer_envelope_info {
    int suite, binding, type;
    bool padded, text_form;
    uint32_t key_id;
};
/* COFFER_OK, or COFFER_E_FORMAT if it is not a well-formed envelope. */
COFFER_PUBLIC COFFER_MUST_CHECK int coffer_envelope_parse(const void *cell, size_t len, struct coffer_envelope_info *info);

/* Order terms as a database sees them (docs/FORMAT.md "Search terms", ORE).  coffer_ore_valid: well-formed, which everything that
 * is compared must be.  coffer_ore_compare: below, equal to or above zero as `a` is to `b`; total; allocates nothing and cannot
 * fail; about 40 ns with AES instructions. */
COFFER_PUBLIC bool coffer_ore_valid(const void *term, size_t len);
COFFER_PUBLIC int coffer_ore_compare(const void *a, const void *b);

/* Run the built-in known answers (as `coffer selftest`): COFFER_OK if all hold.  `passed` and `failed` may be NULL. */
COFFER_PUBLIC COFFER_MUST_CHECK int coffer_selftest(unsigned *passed, unsigned *failed, struct coffer_error *err);

#ifdef __cplusplus
}
#endif
#endif
