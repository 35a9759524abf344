/* SPDX-License-Identifier: Apache-2.0 */
/* What programs of ours need around the library: the keyring as files, working rows over a database, heartbeats. */
#ifndef COFFER_HOST_INTERNAL_H
#define COFFER_HOST_INTERNAL_H

#include "base/os.h"
#include "db/db.h"
#include "keyring/store.h"
#include "ledger/journal.h"

/* ---- settings: options, then coffer.toml of the working folder (keys keyring, kek, database), then COFFER_KEYRING/COFFER_KEK ---- */

struct host_settings {
    char keyring[1024], kek[1024];
    char database[1024]; /* from coffer.toml only; "" if it has none */
    char state[1024];    /* cofferd's folder, from coffer.toml only */
};
/* cofferd's folder by coffer.toml, then COFFER_STATE; "" if neither names one. */
COFFER_MUST_CHECK int host_settings_state(const struct os *os, char out[1024], struct coffer_error *err);
/* MISUSE with what to give when one is missing: options of the command, or (`library`) fields of coffer_host_options. */
COFFER_MUST_CHECK int host_settings_find(const char *keyring, const char *kek, bool library, const struct os *os, struct host_settings *out,
                                         struct coffer_error *err);

/* ---- the keyring as files: NAME, NAME.lock, NAME.<epoch> (five kept), NAME.audit, NAME.escrow/, NAME.certificates/ ---- */

/* Takes ownership of `kek`.  Nothing is read yet.  Free with file_store_close(). */
COFFER_MUST_CHECK int file_store_open(const char *path, struct kek *kek, const struct os *os, struct keyring_store **out,
                                      struct coffer_error *err);
void file_store_close(struct keyring_store *store);
/* Make a new keyring file with its audit log (epoch 1, then 2 with the mark of the first entry); EXISTS if there is one.
 * Takes ownership of `kek`. */
COFFER_MUST_CHECK int file_store_init(const char *path, struct kek *kek, const struct os *os, const char *who,
                                      struct coffer_error *err);

/* Another KEK for the keyring and for each of its escrow files; `*escrowed` of these.  Audited.  After a failure or a crash at
 * any instant everything opens either with the old KEK or with the new one.  `kek` is borrowed. */
COFFER_MUST_CHECK int file_store_rewrap(struct keyring_store *store, struct kek *kek, const char *who, size_t *escrowed,
                                        struct coffer_error *err);

/* ---- a database as the keyring knows it ---- */

struct host_database {
    struct db *db;
    struct uuid id;
    char name[DB_NAME_MAX];   /* URL for people */
    char incarnation[DB_NAME_MAX]; /* engine part ‖ "/" ‖ random part, as found now */
    bool registered; /* the keyring knows it */
    bool lost;       /* the keyring knows the name, but the working rows are gone: the id is the keyring's, restored is set;
                      * host_database_adopt() makes the rows anew, RECOVER does the rest */
    bool restored;   /* incarnation differs from the keyring's: a restore or a clone; RECOVER before anything else */
    struct journal journal;
    struct journal_store *rows;
};
/* Connect and read table meta.  A database without one, or with another keyring's (REFUSED, says which), has registered = false.
 * ROLLBACK: "this keyring is at epoch 7, the database has seen 9".  TAMPERED.  `keyring` is borrowed while open. */
COFFER_MUST_CHECK int host_database_open(const struct keyring *keyring, const char *url, bool allow_password,
                                         const struct db_options *options, struct host_database **out, struct coffer_error *err);
/* The same for a keyring that was loaded from `store`, and that another command may change at this moment: where the database knows
 * of a newer one than `*keyring` (owned), that is loaded in its place.  Nothing may borrow from `*keyring`. */
COFFER_MUST_CHECK int host_database_open_newest(struct keyring_store *store, struct keyring **keyring, const char *url,
                                                bool allow_password, const struct db_options *options,
                                                struct host_database **out, struct coffer_error *err);
void host_database_close(struct host_database *database);
/* Another snapshot of the keyring (after an edit). */
void host_database_use(struct host_database *database, const struct keyring *keyring);
/* First protect: install the working tables, choose an id, write meta; the keyring record is put by the caller's change. Idempotent. */
COFFER_MUST_CHECK int host_database_adopt(struct host_database *database, struct coffer_error *err);
/* Write (keyring id, epoch, key ids) as seen; `renew` (NULL: keep) becomes the random part of the incarnation.  A finished rotation gives
 * its id, after the keyring has accepted it: whoever dies in between is told from a restore by the rotation's record. */
COFFER_MUST_CHECK int host_database_saw(struct host_database *database, const char *renew, struct coffer_error *err);

/* Journal rows over the working tables of `db` (borrowed). */
COFFER_MUST_CHECK int journal_db_new(struct db *db, struct journal_store **out, struct coffer_error *err);
void journal_db_free(struct journal_store *store);

/* ---- heartbeats ---- */

struct heartbeat {
    char client[KEYRING_NAME_MAX]; /* "clinic-web@host:pid" */
    char role[KEYRING_NAME_MAX];   /* the declared name part, "clinic-web" */
    uint64_t epoch;                /* of the keyring it uses */
    int64_t at_us;                 /* by the writer's clock */
    bool leaving;                  /* said goodbye */
    struct coffer_use use[32];     /* since it started, by key */
    size_t use_count;
};
#define HEARTBEAT_EVERY_MS 5000
#define HEARTBEAT_LIVE_MS 90000
COFFER_MUST_CHECK int heartbeat_write(struct journal *journal, const struct heartbeat *beat, struct coffer_error *err);
typedef int (*heartbeat_fn)(void *arg, const struct heartbeat *beat, struct coffer_error *err);
/* Remove rows of clients that were last seen a day ago, at most a few dozen (`*removed`).  What a gate or a proof may still ask for
 * stays: the row of each declared client that shows most, and rows that used a key which is neither active nor retired. */
#define HEARTBEAT_KEPT_MS 86400000
COFFER_MUST_CHECK int heartbeat_prune(struct journal *journal, int64_t now_us, size_t *removed, struct coffer_error *err);
COFFER_MUST_CHECK int heartbeat_list(struct journal *journal, heartbeat_fn fn, void *arg, struct coffer_error *err);

#endif
