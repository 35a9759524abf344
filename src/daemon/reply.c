/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/internal.h"

#include <stdlib.h>
#include <string.h>

int
http_of_status(int status)
{
    switch (status) {
    case COFFER_OK:
        return MHD_HTTP_OK;
    case COFFER_E_MISUSE:
    case COFFER_E_FORMAT:
    case COFFER_E_TYPE:
    case COFFER_E_LIMIT:
        return MHD_HTTP_BAD_REQUEST;
    case COFFER_E_NOTFOUND:
        return MHD_HTTP_NOT_FOUND;
    case COFFER_E_CONFLICT:
    case COFFER_E_EXISTS:
        return MHD_HTTP_CONFLICT;
    case COFFER_E_REFUSED:
        return 422;
    case COFFER_E_NOTYET:
        return MHD_HTTP_TOO_EARLY;
    default:
        return MHD_HTTP_INTERNAL_SERVER_ERROR;
    }
}

void
reply_security(struct MHD_Response *response)
{
    static const char *const headers[][2] = {
        {"Content-Security-Policy",
         "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"},
        {"X-Content-Type-Options", "nosniff"},
        {"X-Frame-Options", "DENY"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Permissions-Policy", "camera=(), geolocation=(), microphone=()"},
    };

    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        (void)MHD_add_response_header(response, headers[i][0], headers[i][1]);
}

static void
reply_set(struct request *request, unsigned code, struct MHD_Response *response)
{
    if (request->response != NULL)
        MHD_destroy_response(request->response);
    request->code = code;
    request->response = response;
}

void
reply_text(struct request *request, unsigned code, const char *type, char *text)
{
    struct MHD_Response *response =
        text == NULL ? NULL : MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);

    if (response == NULL) { /* the connection is closed instead */
        free(text);
        reply_set(request, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL);
        return;
    }
    (void)MHD_add_response_header(response, "Content-Type", type);
    (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    reply_security(response);
    reply_set(request, code, response);
}

void
reply_json(struct request *request, unsigned code, json_t *value)
{
    char *text = value == NULL ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

    json_decref(value);
    reply_text(request, code, "application/json", text);
}

void
reply_error(struct request *request, unsigned code, const char *status, const char *message)
{
    reply_json(request, code, json_pack("{s:{s:s,s:s}}", "error", "status", status, "message", message));
    if (code == MHD_HTTP_UNAUTHORIZED)
        reply_header(request, "WWW-Authenticate", "Bearer");
}

void
reply_header(struct request *request, const char *name, const char *value)
{
    if (request->response != NULL)
        (void)MHD_add_response_header(request->response, name, value);
}

enum MHD_Result
reply_send(struct request *request)
{
    enum MHD_Result result;

    if (request->response == NULL)
        return MHD_NO;
    if (request->code < CODES_MAX)
        atomic_fetch_add(&request->daemon->answered[request->code], 1);
    result = MHD_queue_response(request->connection, request->code, request->response);
    if (!request->shared)
        MHD_destroy_response(request->response);
    request->response = NULL;
    return result;
}
