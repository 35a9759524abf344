/* SPDX-License-Identifier: Apache-2.0 */
/* The pages.  Their answers are made once and shared by all requests; what is in the browser's cache is asked for by its ETag. */
#include "base/mem.h"
#include "daemon/internal.h"

#include <string.h>
#include <strings.h>

struct asset_responses {
    size_t count;
    struct {
        struct MHD_Response *plain, *gzip, *same;
    } of[];
};

static struct MHD_Response *
response_of(const struct asset *a, const uint8_t *data, size_t len, bool gzip)
{
    /* Not const in libmicrohttpd's header; not written to. */
    struct MHD_Response *r =
        MHD_create_response_from_buffer(len, (void *)(uintptr_t)data, MHD_RESPMEM_PERSISTENT);

    if (r == NULL)
        return NULL;
    (void)MHD_add_response_header(r, "Content-Type", a->type);
    (void)MHD_add_response_header(r, "ETag", a->etag);
    (void)MHD_add_response_header(r, "Cache-Control", "no-cache");
    (void)MHD_add_response_header(r, "Vary", "Accept-Encoding");
    if (gzip)
        (void)MHD_add_response_header(r, "Content-Encoding", "gzip");
    reply_security(r);
    return r;
}

int
assets_new(struct asset_responses **out, struct coffer_error *err)
{
    struct asset_responses *all;
    size_t count = 0;

    *out = NULL;
    while (assets_web[count].path != NULL)
        count++;
    all = mem_alloc(sizeof *all + count * sizeof all->of[0]);
    if (all == NULL)
        return error_nomem(err);
    for (all->count = 0; all->count < count; all->count++) {
        const struct asset *a = &assets_web[all->count];

        all->of[all->count].plain = response_of(a, a->data, a->len, false);
        all->of[all->count].gzip = a->gzip == NULL ? NULL : response_of(a, a->gzip, a->gzip_len, true);
        all->of[all->count].same = response_of(a, (const uint8_t *)"", 0, false);
    }
    *out = all;
    return COFFER_OK;
}

void
assets_free(struct asset_responses *all)
{
    for (size_t i = 0; all != NULL && i < all->count; i++) {
        struct MHD_Response *each[] = {all->of[i].plain, all->of[i].gzip, all->of[i].same};

        for (size_t j = 0; j < 3; j++) {
            if (each[j] != NULL)
                MHD_destroy_response(each[j]);
        }
    }
    mem_free(all);
}

static const struct asset *
asset_find(const char *path, size_t *index)
{
    for (*index = 0; assets_web[*index].path != NULL; (*index)++) {
        if (strcmp(assets_web[*index].path, path) == 0)
            return &assets_web[*index];
    }
    return NULL;
}

bool
assets_answer(struct request *request, const char *path)
{
    const char *accept = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, "Accept");
    const char *coding = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, "Accept-Encoding");
    const char *known = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, "If-None-Match");
    struct asset_responses *all = request->daemon->assets;
    struct MHD_Response *response;
    size_t index;
    const struct asset *a = asset_find(strcmp(path, "/") == 0 ? "/index.html" : path, &index);

    /* An address that the pages made for themselves ("/databases/clinic"), opened anew. */
    if (a == NULL && strncmp(path, "/api/", 5) != 0 && accept != NULL && strstr(accept, "text/html") != NULL)
        a = asset_find("/index.html", &index);
    if (a == NULL)
        return false;
    request->code = MHD_HTTP_OK;
    response = all->of[index].plain;
    if (coding != NULL && strcasestr(coding, "gzip") != NULL && all->of[index].gzip != NULL)
        response = all->of[index].gzip;
    if (known != NULL && strstr(known, a->etag) != NULL) {
        request->code = MHD_HTTP_NOT_MODIFIED;
        response = all->of[index].same;
    }
    request->response = response;
    request->shared = true;
    return response != NULL;
}
