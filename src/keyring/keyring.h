/* SPDX-License-Identifier: Apache-2.0 */
/* The keyring: keys with their states, protected columns, databases, backups, certificates, the audit mark.
 *
 * It is what clients believe (specification: docs/ROTATION.md "Who is believed"; bytes: docs/FORMAT.md "Keyring v1").
 * A `struct keyring` is the decoded content of one file, at one epoch.  Decode, edit with the functions below, encode with
 * the next epoch; storing the bytes is a keyring_store's work (store.h).  Not thread-safe for edits; any number of threads
 * may read one that nobody edits.
 *
 * Edits: MISUSE for a record that breaks its own rules (a name that is not UTF-8, an unknown enum value, a zero id), LIMIT for
 * too many records; after any failure the keyring is as it was.
 * Pointers to records (`const struct keyring_key *` …) are valid until the next edit of that kind of record, or free.
 */
#ifndef COFFER_KEYRING_KEYRING_H
#define COFFER_KEYRING_KEYRING_H

#include "base/bytes.h"
#include "base/secret.h"
#include "keyring/kek.h"

#define KEYRING_NAME_MAX 192  /* bytes of a name with its NUL: table ("schema.table"), column, line, client, … */
#define KEYRING_PARTS_MAX 16  /* parts of a primary key */
#define KEYRING_FILE_MAX (64u << 20)

enum key_purpose { KEY_FIELD = 1, KEY_INDEX, KEY_SUM, KEY_VOLUME, KEY_BACKUP, KEY_CATALOG, KEY_AUDIT };
enum key_state {
    KEY_STAGED = 1, /* everyone can open, nobody seals */
    KEY_ACTIVE,     /* opens and seals; one per purpose and line */
    KEY_DRAINING,   /* opens; a rotation moves its data away */
    KEY_FENCED,     /* the database refuses anything new under it */
    KEY_PROVEN,     /* certificates say that nothing live is under it */
    KEY_ESCROWED,   /* material out of this keyring, in an escrow file */
    KEY_DESTROYED,  /* material gone; id and history stay */
};
const char *key_purpose_name(enum key_purpose purpose);
const char *key_state_name(enum key_state state);

struct uuid {
    uint8_t b[16];
};
bool uuid_equal(const struct uuid *a, const struct uuid *b);
bool uuid_zero(const struct uuid *a);
int uuid_new(struct uuid *out, struct coffer_error *err); /* version 4 */
void uuid_format(const struct uuid *u, char out[37]);
bool uuid_parse(struct bytes text, struct uuid *out);

struct keyring_key {
    uint32_t id; /* random, never zero, never reused, unique over every purpose */
    enum key_purpose purpose;
    char line[KEYRING_NAME_MAX];
    uint32_t version; /* 1, 2, … within purpose and line */
    enum key_state state;
    bool compromised;
    int64_t entered_us[8]; /* [state]: Unix time in µs when it was entered last, 0 never; [0]: created */
    uint8_t fingerprint[32]; /* HMAC-SHA-256(material, "coffer/v1/fingerprint" ‖ id) */
    char made_by[KEYRING_NAME_MAX];
    struct uuid *databases; /* in which it was ever made usable */
    size_t database_count;
};

struct keyring_part {
    char name[KEYRING_NAME_MAX];
    int type; /* enum coffer_type */
};

struct keyring_column {
    struct uuid id, database;
    char table[KEYRING_NAME_MAX]; /* as the database names it, "schema.table" where there are schemas */
    char name[KEYRING_NAME_MAX];
    char companion[KEYRING_NAME_MAX]; /* "" : in place */
    int type, binding, suite, phase;  /* coffer.h enums */
    uint32_t pad;
    bool text_form;
    char line[KEYRING_NAME_MAX];
    char sql_type[KEYRING_NAME_MAX]; /* declared type at the time of protect, for unprotect and for display */
    struct keyring_part parts[KEYRING_PARTS_MAX]; /* the place, in declared order; part_count 0 unless row binding */
    size_t part_count;
    uint64_t phase_epoch; /* keyring epoch at which `phase` was entered */
    bool retired;         /* unprotected; kept so that old backups can be read */
};

enum index_kind { /* docs/SEARCH.md; the specification's sections in brackets */
    INDEX_EQUALITY = 1, /* [6] */
    INDEX_TEXT,         /* [7] tokens */
    INDEX_ORE,          /* [8] PostgreSQL with the extension */
    INDEX_OPE,          /* [9] */
    INDEX_BUCKET,       /* [10] */
    INDEX_SUM,          /* [11] [12] */
    INDEX_SPLASHE,      /* [13] */
    INDEX_PIBAS,        /* [14] */
    INDEX_PAILLIER,     /* [15] */
};
const char *index_kind_name(int kind); /* "equality"; "?" */
enum index_state {
    INDEX_FILLING = 1, /* writers write it, the worker fills in the rest; nobody asks by it */
    INDEX_READY,
    INDEX_DROPPING,    /* nobody asks by it or writes it any more */
};

/* What is stored beside a protected column to search, sort or add by.  Never sent to a server; the terms are. */
struct keyring_index {
    struct uuid id;
    struct uuid group;   /* what the subkeys are bound to: `id`, or the one that all members of a join group share */
    struct uuid column;
    int kind, state;     /* enum index_kind, index_state */
    uint64_t state_epoch; /* keyring epoch at which `state` was entered */
    unsigned normaliser; /* 0 exact, 1 canonical, 2 caseless, 3 accentless, 4 digits */
    unsigned bits;       /* of a term; 0: all */
    unsigned width;      /* bytes of an order encoding */
    unsigned precision, scale; /* of a numeric; decimal places of a sum */
    unsigned edge, padding;    /* of tokens */
    bool words, short_grams, unique, wide, tags;
    uint64_t max_abs;    /* of a sum's values, scaled */
    char store[KEYRING_NAME_MAX];  /* the companion column, the first of several, or the side table */
    char line[KEYRING_NAME_MAX];   /* of its keys, of purpose index or sum; the key's version is the term's */
    char accepted[KEYRING_NAME_MAX]; /* why its leak was accepted; "" */
};

struct keyring_database {
    struct uuid id;
    char name[KEYRING_NAME_MAX];   /* its URL without any password, for people */
    char engine[32];               /* "sqlite", "postgresql" */
    char incarnation[KEYRING_NAME_MAX]; /* what db_incarnation() said when it was last accepted */
    uint32_t keep_days;            /* retention promise; 400 until somebody says otherwise */
};

struct keyring_backup {
    struct uuid id, database;
    char label[KEYRING_NAME_MAX];
    int64_t start_us, end_us; /* Unix time; end 0: open (a WAL archive) */
    int64_t expired_us;       /* 0: still there */
};

struct keyring_certificate {
    uint32_t key_id;
    struct uuid database;
    uint8_t digest[32]; /* SHA-256 of the certificate file */
    int64_t proven_us;
};

struct keyring_client { /* declared: holds the gates until it has shown an epoch or is waived */
    char name[KEYRING_NAME_MAX];
    int64_t declared_us;
    uint64_t waived_epoch; /* gates up to this epoch do not wait for it */
};

struct keyring_waiver { /* an explicit, named exception in the destroy guard, or an accepted unregistered column */
    uint32_t key_id;    /* 0: any */
    char what[KEYRING_NAME_MAX];
    char by[KEYRING_NAME_MAX];
    int64_t at_us;
};

struct keyring;

/* ---- whole ---- */

/* A new keyring, epoch 0, with catalog and audit keys and an active field key of line "main". */
COFFER_MUST_CHECK int keyring_new(struct kek *kek, const char *made_by, int64_t now_us, struct keyring **out,
                                  struct coffer_error *err);
void keyring_free(struct keyring *kr);
/* Decode and authenticate.  Errors as coffer_new(); the message tells damaged, truncated, foreign and newer apart. */
COFFER_MUST_CHECK int keyring_decode(struct bytes file, struct kek *kek, struct keyring **out, struct coffer_error *err);
/* Decode another content under the root key that `known` already has (no KDF): a newer file, or an escrow file of it.
 * ROLLBACK for another keyring's id, KEK if the KEK was changed; the caller compares epochs. */
COFFER_MUST_CHECK int keyring_decode_again(struct bytes file, const struct keyring *known, struct keyring **out,
                                           struct coffer_error *err);
/* A deep copy, to edit. */
COFFER_MUST_CHECK int keyring_clone(const struct keyring *kr, struct keyring **out, struct coffer_error *err);
/* Write the file with epoch = keyring_epoch() + 1 in place of what `out` held, and set that epoch in `kr`.
 * LIMIT above the size of `out` or KEYRING_FILE_MAX.  After a failure `kr` is as it was. */
COFFER_MUST_CHECK int keyring_encode(struct keyring *kr, struct buf *out, struct coffer_error *err);
/* Unauthenticated look at a file: id, epoch, kek kind. */
COFFER_MUST_CHECK int keyring_peek(struct bytes file, struct uuid *id, uint64_t *epoch, uint16_t *kek_kind,
                                   struct coffer_error *err);
/* Take another KEK: every key is re-wrapped at the next encode.  Escrow files stay under the KEK that they were made with:
 * decode, rewrap and encode each of them too, or keep the old KEK. */
COFFER_MUST_CHECK int keyring_rewrap(struct keyring *kr, struct kek *kek, struct coffer_error *err);
/* The same, taking the root key and its parameters from `like`: for an escrow file, which must open as its keyring does. */
COFFER_MUST_CHECK int keyring_rewrap_like(struct keyring *kr, const struct keyring *like, struct coffer_error *err);
/* A keyring of its own (same keyring id, kind "escrow") that holds one key with its material, under the same root or `kek`. */
COFFER_MUST_CHECK int keyring_extract(const struct keyring *kr, uint32_t key_id, struct kek *kek_or_null,
                                      struct keyring **out, struct coffer_error *err);
/* Bring the keys of `from` in: material of escrowed ones comes back as draining; REFUSED for an id of a destroyed key,
 * EXISTS for a known id with another fingerprint; identical keys are skipped.  `*count` keys were taken. */
COFFER_MUST_CHECK int keyring_import(struct keyring *kr, const struct keyring *from, size_t *count, struct coffer_error *err);

/* An escrow file: one key, nothing else.  Whoever expects a whole keyring refuses it. */
bool keyring_is_escrow(const struct keyring *kr);
uint64_t keyring_epoch(const struct keyring *kr);
struct uuid keyring_id(const struct keyring *kr);
uint16_t keyring_kek_kind(const struct keyring *kr);
const struct secret *keyring_root(const struct keyring *kr); /* borrowed: to open it once more without its KDF */

/* ---- keys ---- */

size_t keyring_key_count(const struct keyring *kr);
const struct keyring_key *keyring_key_at(const struct keyring *kr, size_t i); /* oldest first */
const struct keyring_key *keyring_key(const struct keyring *kr, uint32_t id); /* NULL if unknown */
const struct keyring_key *keyring_active(const struct keyring *kr, enum key_purpose purpose, const char *line);
/* Material, borrowed; NULL when escrowed or destroyed. */
const struct secret *keyring_material(const struct keyring *kr, uint32_t id);
/* A new staged key with fresh random material, next version of its line. */
COFFER_MUST_CHECK int keyring_key_add(struct keyring *kr, enum key_purpose purpose, const char *line, const char *made_by,
                                      int64_t now_us, uint32_t *id, struct coffer_error *err);
/* Move along the lifecycle.  Allowed: staged→active (the line's active key becomes draining in the same step), staged→draining,
 * active→draining, draining→active (abort; never when compromised), draining→fenced, fenced→draining, fenced→proven,
 * proven→draining (a restore, or an open was seen), proven→escrowed (drops the material), escrowed→draining (import),
 * escrowed→destroyed, proven→destroyed.  Anything else REFUSED.  Going back to draining voids the key's certificates. */
COFFER_MUST_CHECK int keyring_key_move(struct keyring *kr, uint32_t id, enum key_state state, int64_t now_us,
                                       struct coffer_error *err);
COFFER_MUST_CHECK int keyring_key_compromise(struct keyring *kr, uint32_t id, struct coffer_error *err);
COFFER_MUST_CHECK int keyring_key_used_in(struct keyring *kr, uint32_t id, const struct uuid *database, struct coffer_error *err);

/* ---- columns, databases, backups, certificates, clients, waivers: put replaces the record with the same key ---- */

size_t keyring_column_count(const struct keyring *kr);
const struct keyring_column *keyring_column_at(const struct keyring *kr, size_t i);
const struct keyring_column *keyring_column(const struct keyring *kr, const struct uuid *database, const char *table,
                                            const char *name); /* not retired ones; NULL */
const struct keyring_column *keyring_column_by_id(const struct keyring *kr, const struct uuid *id);
COFFER_MUST_CHECK int keyring_column_put(struct keyring *kr, const struct keyring_column *column, struct coffer_error *err);
/* Sets phase and phase_epoch (the epoch of the next encode), as keyring_column_put() does when the phase is another. */
COFFER_MUST_CHECK int keyring_column_phase(struct keyring *kr, const struct uuid *id, int phase, struct coffer_error *err);

size_t keyring_index_count(const struct keyring *kr);
const struct keyring_index *keyring_index_at(const struct keyring *kr, size_t i);
const struct keyring_index *keyring_index(const struct keyring *kr, const struct uuid *id);
/* Sets state_epoch when the state is another, as keyring_column_put() does for phases. */
COFFER_MUST_CHECK int keyring_index_put(struct keyring *kr, const struct keyring_index *index, struct coffer_error *err);
COFFER_MUST_CHECK int keyring_index_remove(struct keyring *kr, const struct uuid *id, struct coffer_error *err);

size_t keyring_database_count(const struct keyring *kr);
const struct keyring_database *keyring_database_at(const struct keyring *kr, size_t i);
const struct keyring_database *keyring_database(const struct keyring *kr, const struct uuid *id);
COFFER_MUST_CHECK int keyring_database_put(struct keyring *kr, const struct keyring_database *d, struct coffer_error *err);

size_t keyring_backup_count(const struct keyring *kr);
const struct keyring_backup *keyring_backup_at(const struct keyring *kr, size_t i);
COFFER_MUST_CHECK int keyring_backup_put(struct keyring *kr, const struct keyring_backup *b, struct coffer_error *err);

size_t keyring_certificate_count(const struct keyring *kr);
const struct keyring_certificate *keyring_certificate_at(const struct keyring *kr, size_t i);
const struct keyring_certificate *keyring_certificate(const struct keyring *kr, uint32_t key_id, const struct uuid *database);
COFFER_MUST_CHECK int keyring_certificate_put(struct keyring *kr, const struct keyring_certificate *c, struct coffer_error *err);
/* When a key goes back to draining its certificates are void. */
COFFER_MUST_CHECK int keyring_certificate_drop(struct keyring *kr, uint32_t key_id, struct coffer_error *err);

size_t keyring_client_count(const struct keyring *kr);
const struct keyring_client *keyring_client_at(const struct keyring *kr, size_t i);
COFFER_MUST_CHECK int keyring_client_put(struct keyring *kr, const struct keyring_client *c, struct coffer_error *err);
COFFER_MUST_CHECK int keyring_client_remove(struct keyring *kr, const char *name, struct coffer_error *err);

size_t keyring_waiver_count(const struct keyring *kr);
const struct keyring_waiver *keyring_waiver_at(const struct keyring *kr, size_t i);
COFFER_MUST_CHECK int keyring_waiver_put(struct keyring *kr, const struct keyring_waiver *w, struct coffer_error *err);

/* High-water mark of the audit log: number of entries and hash of the last. */
void keyring_audit_mark(const struct keyring *kr, uint64_t *count, uint8_t hash[32]);
void keyring_audit_mark_set(struct keyring *kr, uint64_t count, const uint8_t hash[32]);

#endif
