/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are part of the program: the tables are written by tools/embed.py when it is built. */
#ifndef COFFER_DAEMON_ASSETS_H
#define COFFER_DAEMON_ASSETS_H

#include <stddef.h>
#include <stdint.h>

struct asset {
    const char *path; /* "/index.html" */
    const char *type; /* of the content, with its charset */
    const char *etag; /* in quotes */
    const uint8_t *data;
    size_t len;
    const uint8_t *gzip; /* NULL where it saves nothing */
    size_t gzip_len;
};
extern const struct asset assets_web[], assets_api[]; /* sorted by path; path NULL at the end */

#endif
