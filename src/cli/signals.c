/* SPDX-License-Identifier: Apache-2.0 */
/* Ctrl-C: long work is asked to stop where it may be resumed. */
#include "cli/cli.h"

#include <unistd.h>

volatile sig_atomic_t cli_stop;

static void
on_signal(int number)
{
    /* The second one ends the process: the first is an agreement, not a trap. */
    if (cli_stop)
        _exit(1);
    cli_stop = 1;
    (void)number;
}

void
cli_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}
