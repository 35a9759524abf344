/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka, after the headers that it needs and in their order. */
#ifndef COFFER_TESTS_TEST_H
#define COFFER_TESTS_TEST_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#endif
