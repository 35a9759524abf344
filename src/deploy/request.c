/* SPDX-License-Identifier: Apache-2.0 */
/* What requests are made of, and answers. */
#include "deploy/internal.h"

#include "base/error.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

int
request_check(const json_t *request, const char *const *names, struct coffer_error *err)
{
    void *at;

    if (!json_is_object(request))
        return error_set(err, COFFER_E_FORMAT, "a request is a JSON object");
    for (at = json_object_iter((json_t *)(uintptr_t)request); at != NULL;
         at = json_object_iter_next((json_t *)(uintptr_t)request, at)) {
        const char *name = json_object_iter_key(at);
        size_t i = 0;

        while (names[i] != NULL && strcmp(names[i], name) != 0)
            i++;
        if (names[i] == NULL)
            return error_set(err, COFFER_E_FORMAT, "\"%.60s\" is nothing that can be given here",
                             name);
    }
    return COFFER_OK;
}

int
request_text(const json_t *request, const char *name, bool needed, const char **out,
             struct coffer_error *err)
{
    const json_t *value = json_object_get(request, name);

    *out = NULL;
    if (value == NULL || json_is_null(value))
        return needed ? error_set(err, COFFER_E_FORMAT, "\"%s\" is missing", name) : COFFER_OK;
    if (!json_is_string(value))
        return error_set(err, COFFER_E_FORMAT, "\"%s\" is a string", name);
    if (strlen(json_string_value(value)) != json_string_length(value))
        return error_set(err, COFFER_E_FORMAT, "\"%s\" has a NUL in it", name);
    *out = json_string_value(value);
    return COFFER_OK;
}

int
request_count(const json_t *request, const char *name, uint64_t otherwise, uint64_t max,
              uint64_t *out, struct coffer_error *err)
{
    const json_t *value = json_object_get(request, name);
    json_int_t n;

    *out = otherwise;
    if (value == NULL || json_is_null(value))
        return COFFER_OK;
    n = json_integer_value(value);
    if (!json_is_integer(value) || n < 0 || (uint64_t)n > max)
        return error_set(err, COFFER_E_FORMAT, "\"%s\" is a whole number from 0 to %" PRIu64, name,
                         max);
    *out = (uint64_t)n;
    return COFFER_OK;
}

json_t *
json_time(int64_t us)
{
    time_t seconds = (time_t)(us / 1000000);
    char text[40];
    struct tm tm;

    if (us == 0 || gmtime_r(&seconds, &tm) == NULL)
        return json_null();
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_string(text);
}

json_t *
json_job(uint64_t id)
{
    return json_pack("{s:I}", "job", (json_int_t)id);
}
