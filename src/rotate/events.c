/* SPDX-License-Identifier: Apache-2.0 */
#include "rotate/internal.h"

#include <stdarg.h>
#include <stdio.h>

void
say(const struct rotate_env *env, enum rotate_event_kind kind, const char *step, const char *format,
    ...)
{
    struct rotate_event event = {.kind = kind, .step = step};
    va_list args;

    if (env->say == NULL)
        return;
    va_start(args, format);
    vsnprintf(event.text, sizeof event.text, format, args);
    va_end(args);
    env->say(env->arg, &event);
}

void
say_progress(const struct rotate_env *env, const char *step, uint64_t done, uint64_t total,
             double rate, double left)
{
    struct rotate_event event = {.kind = ROTATE_PROGRESS,
                                 .step = step,
                                 .done = done,
                                 .total = total,
                                 .rows_per_second = rate,
                                 .seconds_left = left};

    if (env->say != NULL)
        env->say(env->arg, &event);
}

bool
stopped(const struct rotate_env *env)
{
    return env->stop != NULL && *env->stop != 0;
}
