/* SPDX-License-Identifier: Apache-2.0 */
/* Worker threads, and what passes between libfuse and the kernel.
 *
 * libfuse lets a filesystem read and write the device itself.  Two things need that, on releases of it that do not know them:
 *
 *   - FUSE_HANDLE_KILLPRIV_V2 in the answer to INIT.  Without it the kernel asks for security.capability at every write, which
 *     makes buffered writes six times as slow.  With it, the filesystem drops set-uid and set-gid bits when a request says so.
 *   - which request says so: the flag is not handed on, so a worker notes it as the request comes in.
 *
 * FUSE_DIRECT_IO_ALLOW_MMAP goes the same way: shared mappings of direct files.
 */
#include "base/mem.h"
#include "volume/fuse/internal.h"

#include <errno.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#define DIRECT_IO_ALLOW_MMAP ((uint64_t)1 << 36)

static __thread struct worker *self;

struct worker *
worker_self(void)
{
    return self;
}

static void
note_init(struct device *device, const struct fuse_in_header *in, const struct fuse_init_in *init)
{
    device->offered = init->flags;
    if ((init->flags & FUSE_INIT_EXT) != 0 &&
        in->len >= sizeof *in + offsetof(struct fuse_init_in, unused))
        device->offered |= (uint64_t)init->flags2 << 32;
    device->init = in->unique;
}

/* Does the request ask to drop set-uid and set-gid bits? */
static bool
kills_privileges(const struct fuse_in_header *in, const void *body, size_t size)
{
    switch (in->opcode) {
    case FUSE_WRITE:
        return size >= sizeof(struct fuse_write_in) &&
               (((const struct fuse_write_in *)body)->write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
    case FUSE_SETATTR:
        return size >= sizeof(struct fuse_setattr_in) &&
               (((const struct fuse_setattr_in *)body)->valid & FATTR_KILL_SUIDGID) != 0;
    case FUSE_OPEN:
        return size >= sizeof(struct fuse_open_in) &&
               (((const struct fuse_open_in *)body)->open_flags & FUSE_OPEN_KILL_SUIDGID) != 0;
    case FUSE_CREATE:
        return size >= sizeof(struct fuse_create_in) &&
               (((const struct fuse_create_in *)body)->open_flags & FUSE_OPEN_KILL_SUIDGID) != 0;
    case FUSE_FALLOCATE:
    case FUSE_COPY_FILE_RANGE:
        return in->uid != 0; /* has no flag; the kernel leaves it to us all the same */
    default:
        return false;
    }
}

static ssize_t
device_read(int fd, void *buf, size_t len, void *userdata)
{
    struct volume_fs *fs = userdata;
    const struct fuse_in_header *in = buf;
    ssize_t got = read(fd, buf, len);
    size_t body;

    if (got < (ssize_t)sizeof *in)
        return got;
    body = (size_t)got - sizeof *in;
    if (in->opcode == FUSE_INIT && body >= offsetof(struct fuse_init_in, flags2))
        note_init(&fs->device, in, (const void *)(in + 1));
    self->kill_privileges = kills_privileges(in, in + 1, body);
    requests_count(fs, in->opcode);
    return got;
}

static void
amend_init(struct device *device, struct fuse_init_out *out, size_t len)
{
    uint64_t wanted = device->offered & FUSE_HANDLE_KILLPRIV_V2;

    out->flags |= (uint32_t)wanted;
    if ((device->offered & FUSE_INIT_EXT) != 0 && (device->offered & DIRECT_IO_ALLOW_MMAP) != 0 &&
        len >= offsetof(struct fuse_init_out, unused)) {
        out->flags |= FUSE_INIT_EXT;
        out->flags2 |= (uint32_t)(DIRECT_IO_ALLOW_MMAP >> 32);
        wanted |= DIRECT_IO_ALLOW_MMAP;
    }
    atomic_store(&device->agreed, wanted);
}

static ssize_t
device_writev(int fd, struct iovec *iov, int count, void *userdata)
{
    struct volume_fs *fs = userdata;
    const struct fuse_out_header *out = iov[0].iov_base;

    if (fs->device.init != 0 && count == 2 && out->unique == fs->device.init && out->error == 0 &&
        iov[1].iov_len >= FUSE_COMPAT_22_INIT_OUT_SIZE) {
        amend_init(&fs->device, iov[1].iov_base, iov[1].iov_len);
        fs->device.init = 0;
    }
    return writev(fd, iov, count);
}

int
device_open(struct volume_fs *fs)
{
    static const struct fuse_custom_io io = {.writev = device_writev, .read = device_read};

    return fuse_session_custom_io(fs->session, &io, fuse_session_fd(fs->session));
}

/* ---- workers ---- */

static void *
work(void *arg)
{
    struct volume_fs *fs = arg;
    struct worker worker = {0};
    struct fuse_buf request = {0};
    int got;

    self = &worker;
    if (posix_memalign(&worker.buffer, 4096, IO_MAX) != 0)
        worker.buffer = NULL;
    while (worker.buffer != NULL && !fuse_session_exited(fs->session)) {
        got = fuse_session_receive_buf(fs->session, &request);
        if (got == -EINTR || got == -EAGAIN)
            continue;
        if (got <= 0) {
            if (got < 0)
                fs_log(fs, "the kernel's requests cannot be read: %s", strerror(-got));
            break;
        }
        fuse_session_process_buf(fs->session, &request);
    }
    free(request.mem);
    free(worker.buffer);
    self = NULL;
    if (atomic_fetch_sub(&fs->device.running, 1) == 1)
        (void)!write(fs->device.ended, &(uint64_t){1}, sizeof(uint64_t));
    return NULL;
}

int
device_start(struct volume_fs *fs, unsigned threads)
{
    struct device *device = &fs->device;
    pthread_attr_t attr;
    int rc = 0;

    device->threads = mem_array(threads, sizeof *device->threads);
    if (device->threads == NULL)
        return -ENOMEM;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 512 * 1024);
    atomic_store(&device->running, (int)threads);
    for (; device->thread_count < threads && rc == 0; device->thread_count += rc == 0)
        rc = pthread_create(&device->threads[device->thread_count], &attr, work, fs);
    pthread_attr_destroy(&attr);
    /* Fewer threads serve as well; none do not. */
    atomic_fetch_sub(&device->running, (int)(threads - device->thread_count));
    if (device->thread_count == 0)
        device_wait(fs); /* frees what there is */
    return rc == 0 || device->thread_count > 0 ? 0 : -rc;
}

/* Joined, not just counted: the last one still uses `fs` after it has said that it ends. */
void
device_wait(struct volume_fs *fs)
{
    for (unsigned i = 0; i < fs->device.thread_count; i++)
        pthread_join(fs->device.threads[i], NULL);
    mem_free(fs->device.threads);
    fs->device.threads = NULL;
    fs->device.thread_count = 0;
}
