/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of keyring/ share: the decoded content, its lists, and the rules of records.
 *
 * Tests and fuzzers include this too, to make keyrings with fixed content and files with chosen
 * bytes.
 */
#ifndef COFFER_KEYRING_INTERNAL_H
#define COFFER_KEYRING_INTERNAL_H

#include "keyring/keyring.h"

#define ROOT_LEN 32
#define MATERIAL_LEN 32 /* of every algorithm in version 1 */
#define FILE_MAGIC "COFFERKR"
#define FILE_VERSION 1
#define FILE_HEADER_LEN 44  /* up to the KEK parameters */
#define FILE_TRAILER_LEN 64 /* tag, checksum */
#define COLUMNS_MAX 16384   /* a column is large in memory and small in the file */
#define INDEXES_MAX 65536
#define RECORDS_MAX (1u << 18)
#define KEY_DATABASES_MAX 4096

enum file_kind { FILE_KEYRING = 1, FILE_ESCROW = 2 };
enum record_type {
    RECORD_KEY = 1,
    RECORD_COLUMN,
    RECORD_DATABASE,
    RECORD_BACKUP,
    RECORD_CERTIFICATE,
    RECORD_CLIENT,
    RECORD_WAIVER,
    RECORD_AUDIT_MARK,
    RECORD_INDEX,
    RECORD_LAST = RECORD_INDEX,
};
#define RECORD_CRITICAL 0x0001

/* Items of one size in one block, in order.  Pointers into it are good until the next append or
 * removal. */
struct list {
    uint8_t *items;
    size_t count, size, item_size, max;
};
void list_init(struct list *list, size_t item_size, size_t max);
void list_free(struct list *list);
void *list_at(const struct list *list, size_t i);
int list_append(struct list *list, const void *item,
                struct coffer_error *err); /* copies; LIMIT, NOMEM */
void list_remove(struct list *list, size_t i);
int list_copy(struct list *to, const struct list *from,
              struct coffer_error *err); /* `to` initialised and empty */
/* Whether `compare` calls any two items equal.  It is qsort's, over pointers to items. */
int list_repeats(const struct list *list, int (*compare)(const void *, const void *), bool *repeats,
                 struct coffer_error *err);

struct key_entry {
    struct keyring_key key;
    struct secret *material; /* NULL when escrowed or destroyed */
};

struct unknown_record { /* of a newer release; written again as it was */
    uint16_t type, flags;
    uint8_t *body;
    size_t len;
};

struct keyring {
    enum file_kind kind;
    struct uuid id;
    uint64_t epoch;
    uint16_t kek_kind;
    uint8_t *kek_params;
    size_t kek_params_len;
    struct secret *root;
    struct list keys; /* struct key_entry */
    struct list columns, indexes, databases, backups, certificates, clients, waivers;
    struct list unknown; /* struct unknown_record */
    uint64_t audit_count;
    uint8_t audit_hash[32];
};

/* keyring.c */
int keyring_empty_new(struct keyring **out, struct coffer_error *err);
int keyring_set_params(struct keyring *kr, struct bytes params, struct coffer_error *err);

/* key.c */
struct key_entry *keyring_entry(const struct keyring *kr, uint32_t id); /* NULL if unknown */
int key_entry_copy(const struct key_entry *from, struct key_entry *to, struct coffer_error *err);
void key_entry_wipe(struct key_entry *entry);
int key_fingerprint(const struct secret *material, uint32_t id, uint8_t out[32],
                    struct coffer_error *err);
uint32_t key_next_version(const struct keyring *kr, enum key_purpose purpose, const char *line);
uint8_t key_algorithm(enum key_purpose purpose);  /* as the file has it */
int key_state_has_material(enum key_state state); /* 1, 0; -1 for an unknown state */

/* check.c: the rules a record must keep by itself.  NULL, or what is wrong, for an error message.
 */
const char *key_problem(const struct keyring_key *key);
const char *column_problem(const struct keyring_column *column);
const char *index_problem(const struct keyring_index *index);
const char *database_problem(const struct keyring_database *database);
const char *backup_problem(const struct keyring_backup *backup);
const char *certificate_problem(const struct keyring_certificate *certificate);
const char *client_problem(const struct keyring_client *client);
const char *waiver_problem(const struct keyring_waiver *waiver);
/* The rules that span records: FORMAT. */
int keyring_check(const struct keyring *kr, struct coffer_error *err);

/* record_read.c, record_write.c: bodies of records. */
int record_read(struct keyring *kr, const struct secret *wrapping, enum record_type type,
                struct bytes body, struct coffer_error *err);
int records_write(const struct keyring *kr, const struct secret *wrapping, struct buf *out,
                  struct coffer_error *err);

/* file.c: header and trailer. */
struct file_header {
    enum file_kind kind;
    struct uuid id;
    uint64_t epoch;
    uint16_t kek_kind;
    struct bytes kek_params; /* borrowed from the file, like `records` */
    struct bytes records;
    struct bytes authenticated;
    struct bytes tag;
};
int file_header_read(struct bytes file, struct file_header *out, struct coffer_error *err);
/* Header with a length of zero, to which records are added; then the length, tag and checksum. */
void file_begin(struct buf *out, enum file_kind kind, const struct uuid *id, uint64_t epoch,
                uint16_t kek_kind, struct bytes kek_params);
int file_finish(struct buf *out, const struct secret *root, const struct uuid *id,
                struct coffer_error *err);
int file_tag(struct bytes authenticated, const struct secret *root, const struct uuid *id,
             uint8_t out[32], struct coffer_error *err);
int file_wrapping_key(const struct secret *root, const struct uuid *id, struct secret **out,
                      struct coffer_error *err);

/* kek_memory.c */
const char *kek_kind_name(uint16_t kind); /* "key file", "passphrase" */
#define ARGON2ID_PASSES_MIN 3
#define ARGON2ID_PASSES_MAX 64
#define ARGON2ID_KIB_MIN (64u << 10)
#define ARGON2ID_KIB_MAX (1u << 20)
#define PASSPHRASE_PARAMS_LEN 25

#endif
