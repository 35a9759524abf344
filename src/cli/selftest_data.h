/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COFFER_CLI_SELFTEST_DATA_H
#define COFFER_CLI_SELFTEST_DATA_H

#include "base/bytes.h"

/* The built-in known answers, in the format of field-vectors.json.  Static storage. */
struct bytes selftest_vectors(void);

#endif
