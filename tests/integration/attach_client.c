/* SPDX-License-Identifier: Apache-2.0 */
/* A client that comes and goes: attach_client URL NAME.  Keyring and KEK as libcoffer-host finds them. */
#include "coffer_host.h"

#include <stdio.h>

int
main(int argc, char **argv)
{
    const struct coffer_host_options options = {.client = argc > 2 ? argv[2] : "client"};
    struct coffer_error err = {0};
    struct coffer_host *host = NULL;
    int rc = coffer_host_open(&options, &host, &err);

    if (rc == COFFER_OK && argc > 1)
        rc = coffer_host_attach(host, argv[1], NULL, &err);
    coffer_host_close(host);
    if (rc != COFFER_OK)
        fprintf(stderr, "%s\n", err.message);
    return rc == COFFER_OK ? 0 : 1;
}
