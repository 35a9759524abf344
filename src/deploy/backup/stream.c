/* SPDX-License-Identifier: Apache-2.0 */
/* The encrypted stream, docs/FORMAT.md "Encrypted stream".
 *
 * The caller's thread reads and seals (or reads, takes the digest and opens); a second one takes the digest and writes.  A block is a segment.
 * Whether a segment is the last one is known only when the input ends, so that one byte is read ahead.
 */
#include "deploy/backup/stream.h"

#include "crypto/crypto.h"
#include "deploy/backup/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_LEN 64
#define HEADER_LEN (1 + GCM_STREAM_SALT_LEN + GCM_STREAM_PREFIX_LEN) /* Tink's */
#define FIRST_LEN                                                                                  \
    (STREAM_SEGMENT - HEADER_LEN) /* the first segment shares its 1 MiB with the header */
#define MAGIC "COFFERST"
#define VERSION 1
#define NAME_MAX_LEN 255
#define ASK_MS 250 /* how often a stream that stands still asks whether it should stop */
#define LABEL "coffer/v1/backup/stream"

struct stream {
    int in, out;
    stream_progress_fn progress;
    void *arg;
    struct stream_total *total;
    struct gcm_stream gcm;
    struct sha256_state *digest;
    struct pump pump;
    struct coffer_error write_error;
    int write_status;
    bool hash_written;
};

/* ---- keys and head ---- */

static int
cipher_key(const struct keyring *keyring, uint32_t key_id, struct secret **out,
           struct coffer_error *err)
{
    const struct keyring_key *key = keyring_key(keyring, key_id);
    const struct secret *material = keyring_material(keyring, key_id);
    struct uuid id = keyring_id(keyring);
    char keyring_text[37];
    uint8_t info[2 + sizeof LABEL - 1 + 4];
    int rc;

    *out = NULL;
    uuid_format(&id, keyring_text);
    if (key == NULL)
        return error_set(err, COFFER_E_KEY,
                         "the stream is under backup key %08x, which keyring %s never had",
                         (unsigned)key_id, keyring_text);
    if (key->purpose != KEY_BACKUP)
        return error_set(err, COFFER_E_KEY, "key %08x of keyring %s is a %s key, not a backup key",
                         (unsigned)key_id, keyring_text, key_purpose_name(key->purpose));
    if (material == NULL)
        return error_set(err, COFFER_E_KEY,
                         "the stream is under backup key %08x, which is %s in keyring %s%s",
                         (unsigned)key_id, key_state_name(key->state), keyring_text,
                         key->state == KEY_ESCROWED
                             ? ": bring it back from its escrow file with `coffer keyring import`"
                             : ": its backups cannot be read any more");
    put_be16(info, sizeof LABEL - 1);
    memcpy(info + 2, LABEL, sizeof LABEL - 1);
    put_be32(info + 2 + sizeof LABEL - 1, key_id);
    rc = secret_new(32, out, err);
    if (rc == COFFER_OK)
        rc = hkdf_sha256(secret_expose(material), bytes_of(NULL, 0), bytes_of(info, sizeof info),
                         secret_expose_mut(*out), 32, err);
    if (rc != COFFER_OK) {
        secret_free(*out);
        *out = NULL;
    }
    return rc;
}

static void
make_head(uint8_t head[HEAD_LEN], const struct keyring *keyring, uint32_t key_id)
{
    struct uuid id = keyring_id(keyring);

    memset(head, 0, HEAD_LEN);
    memcpy(head, MAGIC, 8);
    head[8] = VERSION;
    head[9] = 1; /* AES256_GCM_HKDF_1MB */
    put_be32(head + 12, key_id);
    memcpy(head + 16, id.b, 16);
}

static int
check_head(struct bytes head, struct uuid *keyring, uint32_t *key_id, struct coffer_error *err)
{
    if (head.len < HEAD_LEN || memcmp(head.ptr, MAGIC, 8) != 0)
        return error_set(err, COFFER_E_FORMAT,
                         "not an encrypted stream of Coffer, or cut off in its first %d bytes",
                         HEAD_LEN);
    if (head.ptr[8] != VERSION || head.ptr[9] != 1)
        return error_set(err, COFFER_E_FORMAT,
                         "an encrypted stream of version %u, suite %u: a newer coffer wrote it",
                         head.ptr[8], head.ptr[9]);
    for (size_t i = 10; i < HEAD_LEN; i++)
        if (head.ptr[i] != 0 && (i < 12 || i >= 32))
            return error_set(err, COFFER_E_FORMAT, "byte %zu of the stream's head is damaged", i);
    *key_id = get_be32(head.ptr + 12);
    memcpy(keyring->b, head.ptr + 16, 16);
    return COFFER_OK;
}

int
stream_key(struct bytes head, uint32_t *key_id, struct coffer_error *err)
{
    struct uuid keyring;

    *key_id = 0;
    return check_head(head, &keyring, key_id, err);
}

/* Key and associated data: the head, so that no byte of it can be changed, then the name. */
static int
start(struct stream *s, const struct keyring *keyring, uint32_t key_id,
      const uint8_t head[HEAD_LEN], const uint8_t header[HEADER_LEN], struct bytes name,
      struct coffer_error *err)
{
    uint8_t ad[HEAD_LEN + NAME_MAX_LEN];
    struct secret *key = NULL;
    int rc;

    if (name.len > NAME_MAX_LEN)
        return error_set(err, COFFER_E_LIMIT, "the name of a stream has at most %d bytes",
                         NAME_MAX_LEN);
    memcpy(ad, head, HEAD_LEN);
    if (name.len > 0)
        memcpy(ad + HEAD_LEN, name.ptr, name.len);
    rc = cipher_key(keyring, key_id, &key, err);
    if (rc == COFFER_OK)
        rc = gcm_stream_init(&s->gcm, secret_expose(key), header + 1,
                             header + 1 + GCM_STREAM_SALT_LEN, bytes_of(ad, HEAD_LEN + name.len),
                             err);
    secret_free(key);
    return rc;
}

/* ---- reading and writing ---- */

/* Wait until `fd` can be used, asking meanwhile whether to go on. */
static int
wait_for(struct stream *s, int fd, short what, struct coffer_error *err)
{
    struct pollfd p = {fd, what, 0};

    for (;;) {
        int n = poll(&p, 1, ASK_MS);

        if (n > 0)
            return COFFER_OK;
        if (n < 0 && errno != EINTR)
            return error_set(err, COFFER_E_IO, "cannot wait for the stream: %s", strerror(errno));
        if (pump_stopped(&s->pump))
            return error_set(err, COFFER_E_CANCELLED, "stopped");
        if (what == POLLIN && s->progress != NULL && !s->progress(s->arg, s->total->plain))
            return error_set(err, COFFER_E_CANCELLED, "stopped as asked, after %llu bytes",
                             (unsigned long long)s->total->plain);
    }
}

/* Fill `len` bytes; fewer only at the end. */
static int
read_some(struct stream *s, uint8_t *out, size_t len, size_t *got, struct coffer_error *err)
{
    *got = 0;
    while (*got < len) {
        int rc = wait_for(s, s->in, POLLIN, err);
        ssize_t n;

        if (rc != COFFER_OK)
            return rc;
        n = read(s->in, out + *got, len - *got);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return error_set(err, COFFER_E_IO, "cannot read the stream: %s", strerror(errno));
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return COFFER_OK;
}

static int
write_all(struct stream *s, struct bytes data, struct coffer_error *err)
{
    while (data.len > 0) {
        int rc = wait_for(s, s->out, POLLOUT, err);
        ssize_t n;

        if (rc != COFFER_OK)
            return rc;
        n = write(s->out, data.ptr, data.len);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return error_set(err, COFFER_E_IO, "cannot write the stream: %s", strerror(errno));
        data.ptr += n;
        data.len -= (size_t)n;
    }
    return COFFER_OK;
}

static void *
writer(void *arg)
{
    struct stream *s = arg;
    struct pump_block *block;
    bool last = false;
    int rc = COFFER_OK;

    while (rc == COFFER_OK && !last && (block = pump_full(&s->pump)) != NULL) {
        struct bytes data = bytes_of(block->bytes, block->len);

        last = block->last;
        if (s->hash_written)
            rc = sha256_add(s->digest, data, &s->write_error);
        if (rc == COFFER_OK)
            rc = write_all(s, data, &s->write_error);
        if (rc == COFFER_OK)
            pump_take(&s->pump);
    }
    s->write_status = rc;
    if (rc != COFFER_OK)
        pump_stop(&s->pump);
    return NULL;
}

/* A pipe whose other side stands still must not hold a thread: its flag is put back afterwards. */
static int
unblock(int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fstat(fd, &st) != 0 || !(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)) ||
        (flags & O_NONBLOCK) != 0)
        return -1;
    (void)fcntl(fd, F_SETPIPE_SZ, STREAM_SEGMENT); /* fewer turns; as it was where refused */
    return fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ? flags : -1;
}

static int
run(struct stream *s, int (*fill)(struct stream *s, const void *arg, struct coffer_error *err),
    const void *arg, struct coffer_error *err)
{
    int in_flags = unblock(s->in), out_flags = unblock(s->out), rc;
    sigset_t all, old;
    pthread_t thread;

    /* A reader that is gone is an error of write(), not a signal: the thread that writes takes none. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&thread, NULL, writer, s) == 0
             ? COFFER_OK
             : error_set(err, COFFER_E_NOMEM, "no thread for a stream");
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc == COFFER_OK) {
        rc = fill(s, arg, err);
        if (rc != COFFER_OK)
            pump_stop(&s->pump);
        pthread_join(thread, NULL);
        if (s->write_status != COFFER_OK && (rc == COFFER_OK || rc == COFFER_E_CANCELLED) &&
            s->write_status != COFFER_E_CANCELLED)
            rc = error_set(err, s->write_status, "%s", s->write_error.message);
    }
    if (in_flags >= 0)
        (void)fcntl(s->in, F_SETFL, in_flags);
    if (out_flags >= 0)
        (void)fcntl(s->out, F_SETFL, out_flags);
    if (rc == COFFER_OK)
        rc = sha256_end(s->digest, s->total->digest, err);
    return rc;
}

static int
prepare(struct stream *s, struct coffer_error *err)
{
    int rc = sha256_new(&s->digest, err);

    *s->total = (struct stream_total){0};
    if (rc == COFFER_OK)
        rc = pump_init(&s->pump, STREAM_SEGMENT + 1, err);
    if (rc != COFFER_OK) {
        sha256_free(s->digest);
        s->digest = NULL;
    }
    return rc;
}

static void
clean(struct stream *s)
{
    pump_wipe(&s->pump);
    sha256_free(s->digest);
    gcm_stream_wipe(&s->gcm);
}

/* ---- sealing ---- */

static int
fill_sealed(struct stream *s, const void *start_bytes, struct coffer_error *err)
{
    uint8_t ahead = 0;
    size_t carried = 0;
    uint64_t segment = 0;
    bool last = false;
    int rc = COFFER_OK;

    (void)start_bytes;
    while (rc == COFFER_OK && !last) {
        size_t room = (segment == 0 ? FIRST_LEN : STREAM_SEGMENT) - AES_GCM_TAG_LEN, got;
        struct pump_block *block = pump_empty(&s->pump);

        if (block == NULL)
            return error_set(err, COFFER_E_CANCELLED, "stopped");
        block->bytes[0] = ahead;
        rc = read_some(s, block->bytes + carried, room + 1 - carried, &got, err);
        if (rc != COFFER_OK)
            break;
        got += carried;
        last = got <= room;
        if (!last) {
            ahead = block->bytes[room];
            carried = 1;
            got = room;
        }
        rc =
            gcm_stream_seal(&s->gcm, segment, last, bytes_of(block->bytes, got), block->bytes, err);
        if (rc != COFFER_OK)
            break;
        block->len = got + AES_GCM_TAG_LEN;
        block->last = last;
        s->total->plain += got;
        s->total->sealed += block->len;
        segment++;
        pump_fill(&s->pump);
        if (s->progress != NULL && !s->progress(s->arg, s->total->plain))
            return error_set(err, COFFER_E_CANCELLED, "stopped as asked, after %llu bytes",
                             (unsigned long long)s->total->plain);
    }
    wipe(&ahead, sizeof ahead);
    return rc;
}

int
stream_seal(int in, int out, const struct keyring *keyring, uint32_t key_id, struct bytes name,
            stream_progress_fn progress, void *arg, struct stream_total *total,
            struct coffer_error *err)
{
    struct stream s = {.in = in,
                       .out = out,
                       .progress = progress,
                       .arg = arg,
                       .total = total,
                       .hash_written = true};
    uint8_t front[HEAD_LEN + HEADER_LEN];
    int rc = prepare(&s, err);

    if (rc != COFFER_OK)
        return rc;
    make_head(front, keyring, key_id);
    front[HEAD_LEN] = HEADER_LEN;
    rc = random_nonce(front + HEAD_LEN + 1, HEADER_LEN - 1, err);
    if (rc == COFFER_OK)
        rc = start(&s, keyring, key_id, front, front + HEAD_LEN, name, err);
    if (rc == COFFER_OK)
        rc = sha256_add(s.digest, bytes_of(front, sizeof front), err);
    if (rc == COFFER_OK) {
        sigset_t pipe_signal, old; /* this write alone is on the caller's thread */
        struct timespec now = {0, 0};

        sigemptyset(&pipe_signal);
        sigaddset(&pipe_signal, SIGPIPE);
        pthread_sigmask(SIG_BLOCK, &pipe_signal, &old);
        rc = write_all(&s, bytes_of(front, sizeof front), err);
        if (rc != COFFER_OK && !sigismember(&old, SIGPIPE))
            (void)sigtimedwait(&pipe_signal, NULL, &now);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    total->sealed = sizeof front;
    if (rc == COFFER_OK)
        rc = run(&s, fill_sealed, NULL, err);
    clean(&s);
    return rc;
}

/* ---- opening ---- */

static int
damaged(struct stream *s, uint64_t segment, bool last, struct bytes sealed, uint8_t *scratch,
        struct coffer_error *err)
{
    unsigned long long from = s->total->sealed, to = from + sealed.len;

    /* The same segment with the other mark tells a cut from damage. */
    if (gcm_stream_open(&s->gcm, segment, !last, sealed, scratch, NULL) == COFFER_OK) {
        wipe(scratch, sealed.len);
        return last ? error_set(err, COFFER_E_AUTH,
                                "the stream is cut off after byte %llu: the rest of it is missing",
                                to)
                    : error_set(err, COFFER_E_AUTH,
                                "the stream ends at byte %llu, yet more follows: that was added",
                                to);
    }
    return error_set(err, COFFER_E_AUTH, "the stream is damaged between bytes %llu and %llu%s",
                     from, to,
                     segment == 0 ? ", or is not the one that was asked for"
                                  : ": a flipped bit, a part out of order, or a cut");
}

static int
fill_opened(struct stream *s, const void *arg, struct coffer_error *err)
{
    uint8_t *room = (uint8_t *)(uintptr_t)arg; /* a sealed segment and one byte more */
    size_t carried = 0;
    uint64_t segment = 0;
    bool last = false;
    int rc = COFFER_OK;

    while (rc == COFFER_OK && !last) {
        size_t size = segment == 0 ? FIRST_LEN : STREAM_SEGMENT, got;
        struct pump_block *block = pump_empty(&s->pump);
        uint8_t ahead = 0;

        if (block == NULL)
            return error_set(err, COFFER_E_CANCELLED, "stopped");
        rc = read_some(s, room + carried, size + 1 - carried, &got, err);
        if (rc != COFFER_OK)
            break;
        got += carried;
        last = got <= size;
        if (!last) {
            ahead = room[size];
            got = size;
            carried = 1;
        }
        if (got < AES_GCM_TAG_LEN)
            return error_set(err, COFFER_E_AUTH, "the stream is cut off after byte %llu",
                             (unsigned long long)(s->total->sealed + got));
        rc = sha256_add(s->digest, bytes_of(room, got), err);
        if (rc == COFFER_OK)
            rc = gcm_stream_open(&s->gcm, segment, last, bytes_of(room, got), block->bytes, err);
        if (rc == COFFER_E_AUTH)
            rc = damaged(s, segment, last, bytes_of(room, got), block->bytes, err);
        if (rc != COFFER_OK)
            break;
        block->len = got - AES_GCM_TAG_LEN;
        block->last = last;
        s->total->plain += block->len;
        s->total->sealed += got;
        segment++;
        pump_fill(&s->pump);
        room[0] = ahead;
        if (s->progress != NULL && !s->progress(s->arg, s->total->plain))
            return error_set(err, COFFER_E_CANCELLED, "stopped as asked, after %llu bytes",
                             (unsigned long long)s->total->plain);
    }
    return rc;
}

int
stream_open(int in, int out, const struct keyring *keyring, struct bytes name,
            stream_progress_fn progress, void *arg, struct stream_total *total,
            struct coffer_error *err)
{
    struct stream s = {.in = in, .out = out, .progress = progress, .arg = arg, .total = total};
    struct uuid mine = keyring_id(keyring), owner;
    uint8_t front[HEAD_LEN + HEADER_LEN];
    struct pump room = {0};
    uint32_t key_id = 0;
    size_t got = 0;
    int rc = prepare(&s, err);

    if (rc != COFFER_OK)
        return rc;
    rc = read_some(&s, front, sizeof front, &got, err);
    if (rc == COFFER_OK)
        rc = check_head(bytes_of(front, got), &owner, &key_id, err);
    if (rc == COFFER_OK && !uuid_equal(&owner, &mine)) {
        char text[37];

        uuid_format(&owner, text);
        rc = error_set(err, COFFER_E_KEY,
                       "the stream is under backup key %08x of another keyring, %s",
                       (unsigned)key_id, text);
    }
    if (rc == COFFER_OK && got < sizeof front)
        rc = error_set(err, COFFER_E_AUTH, "the stream is cut off after byte %zu", got);
    if (rc == COFFER_OK && front[HEAD_LEN] != HEADER_LEN)
        rc = error_set(err, COFFER_E_FORMAT, "byte %d of the stream is damaged", HEAD_LEN);
    if (rc == COFFER_OK)
        rc = start(&s, keyring, key_id, front, front + HEAD_LEN, name, err);
    if (rc == COFFER_OK)
        rc = sha256_add(s.digest, bytes_of(front, sizeof front), err);
    total->sealed = sizeof front;
    if (rc == COFFER_OK)
        rc = pump_init(&room, STREAM_SEGMENT + 1, err);
    if (rc == COFFER_OK) {
        rc = run(&s, fill_opened, room.blocks[0].bytes, err);
        pump_wipe(&room);
    }
    clean(&s);
    return rc;
}
