/* SPDX-License-Identifier: Apache-2.0 */
/* Examine a lower file, offline: what reading would refuse is damage, what it tolerates but nothing
 * healthy writes is suspect. */
#include "volume/ecryptfs/internal.h"

#include "base/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct checker {
    volume_report_fn report;
    void *arg;
    enum volume_damage worst;
};

static void say(struct checker *checker, enum volume_damage damage, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void
say(struct checker *checker, enum volume_damage damage, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (damage > checker->worst)
        checker->worst = damage;
    checker->report(checker->arg, damage, text);
}

static void
check_after_packets(struct checker *checker, const struct metadata *metadata)
{
    size_t at = metadata->header.packets_end;

    while (at < metadata->raw_len && metadata->raw[at] == 0)
        at++;
    if (at < metadata->raw_len)
        say(checker, VOLUME_SUSPECT, "the header has other bytes behind its keys, at %zu", at);
}

static void
check_length(struct checker *checker, const struct header *header, uint64_t length)
{
    uint64_t due = header_lower_len(header->data_at, header->size);

    if (length < due && !(header->size == 0 && header->data_at > 0))
        say(checker, VOLUME_DAMAGED,
            "cut off: a size of %llu bytes needs %llu in the lower file, which has %llu",
            (unsigned long long)header->size, (unsigned long long)due, (unsigned long long)length);
    else if (length < due)
        say(checker, VOLUME_SUSPECT, "an empty file whose header is cut off at %llu bytes",
            (unsigned long long)length);
    else if (length > due)
        say(checker, VOLUME_SUSPECT, "the lower file has %llu bytes more than the size needs",
            (unsigned long long)(length - due));
}

/* Read the extents that are there, one by one; those that are holes, and a last one whose end is not
 * zeros, are told. Without the key only holes can be. */
static void
check_extents(struct checker *checker, struct volume_file *file, uint64_t held)
{
    uint8_t extent[EXTENT_LEN];
    struct coffer_error err = {0};
    struct iovec iov = {extent, sizeof extent};
    uint64_t count = (file->size + EXTENT_LEN - 1) / EXTENT_LEN, n, holes = 0;
    size_t over = file->size % EXTENT_LEN;
    ssize_t got;

    if (count > held / EXTENT_LEN)
        count = held / EXTENT_LEN;
    for (n = 0; n < count; n++) {
        got = file->lower->ops->read(file->lower, &iov, 1, file->data_at + n * EXTENT_LEN);
        if (got != (ssize_t)sizeof extent) {
            say(checker, VOLUME_DAMAGED, "extent %llu cannot be read: %s", (unsigned long long)n,
                got < 0 ? strerror((int)-got) : "the lower file ended");
            return;
        }
        if (extent_is_zero(extent) && ++holes == 1)
            say(checker, VOLUME_DAMAGED, "extent %llu is a hole: it was punched out, or lost",
                (unsigned long long)n);
    }
    if (holes > 1)
        say(checker, VOLUME_DAMAGED, "%llu extents in all are holes", (unsigned long long)holes);
    if (file->key == NULL || over == 0 || count == 0 || count * EXTENT_LEN < file->size ||
        extent_is_zero(extent))
        return;
    if (file_read_extent(file, count - 1, extent, &err) != 0)
        say(checker, VOLUME_DAMAGED, "%s", err.message);
    else if (memcmp(extent + over, (uint8_t[EXTENT_LEN]){0}, EXTENT_LEN - over) != 0)
        say(checker, VOLUME_SUSPECT, "the last extent does not end in zeros");
}

/* The key of the file, if one is given that opens it. */
static void
check_key(struct checker *checker, struct volume_file *file, const struct metadata *metadata)
{
    struct coffer_error err = {0};
    struct secret *fek = NULL;
    int rc = volume_find_fek(file->volume, bytes_of(metadata->raw, metadata->raw_len),
                             &metadata->header, &fek, &err);

    if (rc == 0)
        rc = extent_root_iv(secret_expose(fek), file->root_iv, &err);
    if (rc == 0)
        rc = errno_of(
            block_key_new(metadata->header.cipher->block, secret_expose(fek), &file->key, &err));
    secret_free(fek);
    if (rc != 0)
        say(checker, rc == -EBADMSG ? VOLUME_DAMAGED : VOLUME_SUSPECT, "%s", err.message);
}

static void
check_sealed(struct checker *checker, const struct volume *volume, struct lower *lower,
             const struct metadata *metadata, bool deep)
{
    struct volume_file file = {
        .volume = (struct volume *)(uintptr_t)volume,
        .lower = lower,
        .size = metadata->header.size,
        .data_at = metadata->header.data_at,
        .place = metadata->place,
    };
    uint64_t length;

    if (lower->ops->length(lower, &length) != 0) {
        say(checker, VOLUME_DAMAGED, "the lower file's length cannot be had");
        return;
    }
    check_after_packets(checker, metadata);
    check_length(checker, &metadata->header, length);
    check_key(checker, &file, metadata);
    if (deep)
        check_extents(checker, &file, length > file.data_at ? length - file.data_at : 0);
    block_key_free(file.key);
}

enum volume_damage
file_check(const struct volume *volume, struct lower *lower, bool deep, volume_report_fn report,
           void *arg)
{
    struct checker checker = {.report = report, .arg = arg, .worst = VOLUME_OK};
    struct coffer_error err = {0};
    struct metadata metadata;
    int rc = metadata_read(lower, &metadata, &err);

    if (rc == -EOPNOTSUPP)
        say(&checker, VOLUME_SUSPECT, "%s", err.message);
    else if (rc != 0)
        say(&checker, VOLUME_DAMAGED, "%s", err.message);
    else if (metadata.place == PLACE_NONE)
        say(&checker, VOLUME_SUSPECT,
            "the lower file is empty: the file was never finished, and reads as an empty one");
    else if (metadata.place == PLACE_PLAIN)
        say(&checker, VOLUME_FOREIGN, "not an eCryptfs file: no marker, no attribute");
    else
        check_sealed(&checker, volume, lower, &metadata, deep);
    return checker.worst;
}
