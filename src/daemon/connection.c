/* SPDX-License-Identifier: Apache-2.0 */
/* Slow clients.  libmicrohttpd's own timeout is one of silence: a client that sends a byte now and then would keep its place for
 * ever.  Here each request has a time by which it must be there in whole. */
#include "base/mem.h"
#include "daemon/internal.h"

#include <sys/socket.h>
#include <time.h>

int64_t
monotonic_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void
connections_notify(void *arg, struct MHD_Connection *connection, void **context,
                   enum MHD_ConnectionNotificationCode code)
{
    struct connections *all = arg;
    struct connection *c = *context;

    (void)pthread_mutex_lock(&all->mutex);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

        c = info == NULL ? NULL : mem_alloc(sizeof *c);
        if (c != NULL) {
            c->fd = info->connect_fd;
            c->deadline_ms = monotonic_ms() + HEADER_MS;
            c->next = all->first;
            c->link = &all->first;
            if (c->next != NULL)
                c->next->link = &c->next;
            all->first = c;
        }
        all->count++;
        *context = c;
    } else {
        if (c != NULL) {
            *c->link = c->next;
            if (c->next != NULL)
                c->next->link = c->link;
            mem_free(c);
        }
        all->count--;
        *context = NULL;
    }
    (void)pthread_mutex_unlock(&all->mutex);
}

void
connection_deadline(struct MHD_Connection *connection, struct connections *all, int64_t deadline_ms)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *c = info == NULL ? NULL : info->socket_context;

    if (c == NULL)
        return;
    (void)pthread_mutex_lock(&all->mutex);
    c->deadline_ms = deadline_ms;
    (void)pthread_mutex_unlock(&all->mutex);
}

void
connections_cut(struct connections *all, int64_t now_ms)
{
    (void)pthread_mutex_lock(&all->mutex);
    for (struct connection *c = all->first; c != NULL; c = c->next) {
        if (c->deadline_ms != 0 && now_ms > c->deadline_ms) {
            (void)shutdown(c->fd, SHUT_RDWR); /* its thread notices, and closes */
            c->deadline_ms = 0;
        }
    }
    (void)pthread_mutex_unlock(&all->mutex);
}
