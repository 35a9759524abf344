/* SPDX-License-Identifier: Apache-2.0 */
/* eCryptfs from the inside.  Pure functions over bytes first (cipher.c key.c packet.c header.c
 * extent.c name.c), then what touches a lower file (metadata.c file.c file_read.c file_write.c
 * rewrap.c check.c).  Bytes: docs/FORMAT.md, "eCryptfs volume".  Unless it says otherwise a
 * function returns 0 or a negative errno, as format.h has it. */
#ifndef COFFER_VOLUME_ECRYPTFS_INTERNAL_H
#define COFFER_VOLUME_ECRYPTFS_INTERNAL_H

#include "crypto/block.h"
#include "volume/ecryptfs/ecryptfs.h"

#include <pthread.h>

#define EXTENT_LEN 4096u
#define HEADER_LEN 8192u        /* of files that are made here, and the least that is read */
#define HEADER_LEN_MAX 1048576u /* four times what the largest pages of any machine give */
#define METADATA_LEN 4096u      /* of the header, all packets lie in it */
#define SECTOR_LEN 512u
#define FEKEK_LEN 64u
#define SALT_LEN 8u
#define SIGNATURE_LEN 8u
#define FEK_MAX BLOCK_KEY_MAX
#define WRAPPED_FEK_MAX 64u
#define EXTENTS_MAX 1000000000000000u /* the extent's number in an IV has 15 digits */
#define XATTR_NAME "user.ecryptfs"

enum header_flag {
    FLAG_HMAC = 1, /* declared in the kernel, never written */
    FLAG_ENCRYPTED = 2,
    FLAG_XATTR = 4,
    FLAG_NAMES = 8,
    FLAGS_KNOWN = 15,
};

/* 0, or the negative errno for a status of crypto/ (which has set `err`). */
int errno_of(int status);

/* ---- cipher.c ---- */

struct cipher {
    uint8_t code; /* in Tag 3 and Tag 70 */
    enum block_cipher block;
    const char *name;
    uint8_t key_lens[8]; /* bytes; 0 ends */
};
const struct cipher *cipher_of_code(uint8_t code); /* NULL: none */
uint8_t cipher_code_aes(unsigned key_bits);
bool cipher_takes(const struct cipher *cipher, size_t key_len);
/* Bytes that a FEK takes when it is wrapped: AES-192 fills up with zeros to whole blocks. */
size_t cipher_wrapped_len(const struct cipher *cipher, size_t key_len);
/* From what cipher_text() writes.  NULL: not one of eCryptfs's. */
const struct cipher *cipher_of_text(const char *text, size_t *key_len);
void cipher_text(const struct cipher *cipher, size_t key_len, char text[32]); /* "aes-256" */

/* ---- key.c ---- */

/* A key of files or names: FEKEK (64 bytes), then the salt it was made with (8). */
struct fekek {
    uint32_t id;
    uint8_t signature[SIGNATURE_LEN];
    struct secret *material;
};
COFFER_MUST_CHECK int fekek_copy(const struct volume_key *key, struct fekek *out,
                                 struct coffer_error *err);
void fekek_wipe(struct fekek *key);
struct bytes fekek_key(const struct fekek *key, size_t key_len);
struct bytes fekek_salt(const struct fekek *key);
int key_set(struct bytes passphrase, struct bytes salt, struct volume_key *key,
            struct coffer_error *err);
/* FEKEK and signature of a passphrase; COFFER_E_*. */
COFFER_MUST_CHECK int fekek_derive(struct bytes passphrase, struct bytes salt,
                                   uint8_t fekek[FEKEK_LEN], uint8_t signature[SIGNATURE_LEN],
                                   struct coffer_error *err);
/* `wrapped` holds cipher_wrapped_len(). */
COFFER_MUST_CHECK int fek_wrap(const struct fekek *key, const struct cipher *cipher,
                               struct bytes fek, uint8_t *wrapped, struct coffer_error *err);
/* -EBADMSG where AES-192's zeros show that it is not the key it says it is. */
COFFER_MUST_CHECK int fek_unwrap(const struct fekek *key, const struct cipher *cipher,
                                 size_t key_len, struct bytes wrapped, struct secret **fek,
                                 struct coffer_error *err);

/* ---- packet.c ---- */

enum packet_kind { PACKET_END, PACKET_PASSPHRASE, PACKET_PUBLIC };
/* Tag 3 with its Tag 11, or Tag 1.  Views into what was read. */
struct packet {
    enum packet_kind kind;
    uint8_t cipher_code;
    struct bytes salt, wrapped, signature;
};
/* The next of a packet set; the end of `c` is its end too. */
COFFER_MUST_CHECK int packet_next(struct cursor *c, struct packet *out, struct coffer_error *err);
void packet_write(struct buf *out, const struct packet *packet);
/* RFC 2440's lengths of one and two bytes. */
COFFER_MUST_CHECK bool packet_length_read(struct cursor *c, size_t *length);
void packet_length_write(struct buf *out, size_t length);

/* ---- header.c ---- */

struct header {
    uint64_t size;
    uint32_t marker; /* any number; its partner in the file makes it a marker */
    uint8_t version, flags;
    uint32_t
        extent_len; /* of the header, which this times the count gives; data extents are 4096 */
    uint16_t extent_count;
    uint64_t data_at; /* lower offset of extent 0: their product, or 0 with an attribute */
    const struct cipher *cipher;
    size_t key_len;
    unsigned key_count, public_count;
    size_t packets_at, packets_end; /* the end is before the zero byte */
};
bool header_marked(struct bytes raw); /* the marker holds */
/* `raw` is the first METADATA_LEN bytes of a lower file, or an attribute's value. */
COFFER_MUST_CHECK int header_parse(struct bytes raw, bool xattr, struct header *out,
                                   struct coffer_error *err);
struct cursor header_packets(struct bytes raw, const struct header *header);
/* Fixed part and one packet pair, of version 3; without the end mark. */
void header_write(struct buf *out, const struct header *header, const struct packet *packet);
uint64_t header_lower_len(uint64_t data_at, uint64_t size); /* of a file that is as it should be */

/* ---- extent.c ---- */

COFFER_MUST_CHECK int extent_root_iv(struct bytes fek, uint8_t root[16], struct coffer_error *err);
COFFER_MUST_CHECK int extent_iv(const uint8_t root[16], uint64_t n, uint8_t iv[16],
                                struct coffer_error *err);
bool extent_is_zero(const uint8_t *extent);

/* ---- name.c ---- */

size_t name_max(const struct volume *volume);
int name_to_lower(const struct volume *volume, struct bytes upper, char lower[VOLUME_NAME_MAX + 1],
                  struct coffer_error *err);
int name_to_upper(const struct volume *volume, struct bytes lower, char upper[VOLUME_NAME_MAX + 1],
                  struct coffer_error *err);
int target_to_lower(const struct volume *volume, struct bytes upper, struct buf *lower,
                    struct coffer_error *err);
int target_to_upper(const struct volume *volume, struct bytes lower, struct buf *upper,
                    struct coffer_error *err);
bool names_mixed(const struct volume *volume);
int name_former(const struct volume *volume, unsigned i, struct bytes upper,
                char lower[VOLUME_NAME_MAX + 1], struct coffer_error *err);
bool name_is_current(const struct volume *volume, struct bytes lower);
bool target_is_current(const struct volume *volume, struct bytes lower);

/* ---- name_form.c ---- */

#define NAME_FILLER_MAX 32

struct name_key {
    struct fekek fekek;
    uint8_t filler[NAME_FILLER_MAX];
};
/* One way in which names stand; without a key: as they are. */
struct name_form {
    const struct name_key *key;
    const struct cipher *cipher;
    size_t key_len;
};
/* All of a volume, the present one first.  A plain one is the only one or the first or the last. */
struct naming {
    struct name_key *keys;
    struct name_form *forms;
    size_t key_count, form_count;
};
COFFER_MUST_CHECK int naming_make(const struct volume_options *options,
                                  const struct volume_key *keys, size_t count, struct naming *out,
                                  struct coffer_error *err);
void naming_wipe(struct naming *naming);

/* ---- volume.c ---- */

struct volume {
    struct volume_options options; /* as opened: what change() leaves alone is read here */
    /* Over what change() changes while files are open.  An open file has its FEK and needs the keys
     * no more. */
    pthread_rwlock_t lock;
    unsigned key_bits;
    bool encrypt_names;
    struct fekek *keys;
    size_t key_count;
    struct naming naming;
};

void volume_lock_shared(const struct volume *volume);
void volume_unlock_shared(const struct volume *volume);
unsigned volume_key_bits(const struct volume *volume);
bool volume_encrypts_names(const struct volume *volume);

/* The FEK of a file, by whichever key of the volume opens it.  -EKEYREJECTED: none. */
COFFER_MUST_CHECK int volume_find_fek(struct volume *volume, struct bytes raw,
                                      const struct header *header, struct secret **fek,
                                      struct coffer_error *err);
/* A header for `fek` under the volume's first key: fixed part and packets, no end mark. */
COFFER_MUST_CHECK int volume_seal_header(struct volume *volume, struct header *header,
                                         struct bytes fek, struct buf *out,
                                         struct coffer_error *err);
/* The raw signature of keys[0]. */
void volume_signature(const struct volume *volume, uint8_t signature[SIGNATURE_LEN]);

/* ---- metadata.c ---- */

enum place {
    PLACE_HEADER,
    PLACE_XATTR,
    PLACE_NONE,  /* lower length 0: the file was never finished, and is empty */
    PLACE_PLAIN, /* no marker, and not empty: another's file */
};
struct metadata {
    enum place place;
    struct header header; /* of the first two places */
    uint8_t raw[METADATA_LEN];
    size_t raw_len;
};
COFFER_MUST_CHECK int metadata_read(struct lower *lower, struct metadata *out,
                                    struct coffer_error *err);
/* Write the size where the metadata are. */
COFFER_MUST_CHECK int metadata_set_size(struct lower *lower, enum place place, uint64_t size,
                                        struct coffer_error *err);
/* After a crash: the size that the lower file can hold, at most `size`. */
COFFER_MUST_CHECK int metadata_held_size(struct lower *lower, const struct header *header,
                                         uint64_t *size, struct coffer_error *err);
int file_info(const struct volume *volume, struct lower *lower, struct volume_file_info *info,
              struct coffer_error *err);
int file_settle(const struct volume *volume, struct lower *lower, bool *changed,
                struct coffer_error *err);
bool file_keys_current(const struct volume *volume, const struct volume_file_info *info);
bool file_is_current(const struct volume *volume, const struct volume_file_info *info);

/* ---- file.c file_read.c file_write.c ---- */

struct volume_file {
    struct volume *volume;
    struct lower *lower;
    struct block_key *key; /* NULL: PLACE_NONE and PLACE_PLAIN */
    uint64_t size, data_at;
    uint8_t root_iv[16];
    enum place place;
    bool read_only; /* a cipher that is only read, or another's file */
};
int file_create(struct volume *volume, struct lower *lower, struct volume_file **out,
                struct coffer_error *err);
int file_open(struct volume *volume, struct lower *lower, struct volume_file **out,
              struct coffer_error *err);
void file_close(struct volume_file *file);
ssize_t file_read(struct volume_file *file, void *out, size_t length, uint64_t at,
                  struct coffer_error *err);
int file_write(struct volume_file *file, const void *data, size_t length, uint64_t at,
               unsigned flags, struct coffer_error *err);
int file_truncate(struct volume_file *file, uint64_t size, struct coffer_error *err);
int file_allocate(struct volume_file *file, int mode, uint64_t at, uint64_t length,
                  struct coffer_error *err);
int file_sync(struct volume_file *file, bool data_only, struct coffer_error *err);
/* Metadata for a file that has none yet. */
COFFER_MUST_CHECK int file_begin_metadata(struct volume_file *file, struct coffer_error *err);

/* Read one extent of a file and open it; `extent` holds EXTENT_LEN. */
COFFER_MUST_CHECK int file_read_extent(struct volume_file *file, uint64_t n, uint8_t *extent,
                                       struct coffer_error *err);

/* This thread's working memory, kept for its next call; NULL when out of memory. */
#define BATCH_EXTENTS 64u /* sealed and written, or read and opened, at a time */
struct scratch {
    struct block_unit units[BATCH_EXTENTS];
    uint8_t edges[2]
                 [EXTENT_LEN]; /* a read's first and last extent, where the caller wants a part */
    uint8_t *sealed;           /* BATCH_EXTENTS of them: only with scratch_for_writing() */
};
struct scratch *scratch_get(void);
struct scratch *scratch_for_writing(void);

/* ---- rewrap.c check.c ---- */

int file_rewrap(struct volume *volume, struct lower *lower, bool *changed,
                struct coffer_error *err);
int file_metadata(const struct volume *volume, struct lower *lower, struct buf *record,
                  struct coffer_error *err);
int file_put_back(const struct volume *volume, struct lower *lower, struct bytes record,
                  struct coffer_error *err);
enum volume_damage file_check(const struct volume *volume, struct lower *lower, bool deep,
                              volume_report_fn report, void *arg);

#endif
