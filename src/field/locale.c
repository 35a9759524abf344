/* SPDX-License-Identifier: Apache-2.0 */
#include "field/internal.h"

#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t c_locale;

static void
make(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

bool
locale_enter(locale_t *old)
{
    (void)pthread_once(&once, make);
    if (c_locale == (locale_t)0)
        return false;
    *old = uselocale(c_locale);
    return true;
}
