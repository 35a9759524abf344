/* SPDX-License-Identifier: Apache-2.0 */
/* A passphrase from the terminal, not echoed. */
#ifndef COFFER_HOST_TERMINAL_H
#define COFFER_HOST_TERMINAL_H

#include "kek/kek_open.h"

/* A kek_prompt.  REFUSED where there is no terminal. */
int terminal_prompt(void *arg, const char *question, bool confirm, struct secret **out, struct coffer_error *err);

#endif
