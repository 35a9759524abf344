/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/reader.h"
#include "field/field.h"

#include <string.h>

int
reader_open(struct cli *cli, const struct cli_url *url, struct coffer_host **host, uint8_t database[16],
            struct coffer_error *err)
{
    struct host_settings settings;
    struct coffer_host_options options = {0};
    char client[64];
    int rc = cli_settings(cli, &settings, err);

    *host = NULL;
    if (rc != COFFER_OK)
        return rc;
    (void)snprintf(client, sizeof client, "coffer-%s", cli->command->name);
    options.keyring = settings.keyring;
    options.kek = settings.kek;
    options.client = client;
    rc = coffer_host_open(&options, host, err);
    if (rc == COFFER_OK)
        rc = coffer_host_attach(*host, url->text, database, err);
    if (rc != COFFER_OK) {
        coffer_host_close(*host);
        *host = NULL;
    }
    return rc;
}

int
reader_value(int type, const struct coffer_value *raw, struct buf *storage, struct coffer_value *out,
             struct coffer_error *err)
{
    *out = *raw;
    if (raw->type == COFFER_NULL || raw->type == type)
        return COFFER_OK;
    if (raw->type == COFFER_TEXT)
        return value_parse(type, bytes_of(raw->data, raw->len), storage, out, err);
    if (raw->type == COFFER_INT64 && type == COFFER_BOOL && (raw->i64 == 0 || raw->i64 == 1)) {
        out->type = COFFER_BOOL;
        return COFFER_OK;
    }
    if (raw->type == COFFER_INT64 && type == COFFER_FLOAT64) {
        out->type = COFFER_FLOAT64;
        out->f64 = (double)raw->i64;
        return COFFER_OK;
    }
    if (raw->type == COFFER_BYTES && type == COFFER_UUID && raw->len == 16) {
        out->type = COFFER_UUID;
        return COFFER_OK;
    }
    return error_set(err, COFFER_E_TYPE, "a value that is stored as %s is no %s", coffer_type_name(raw->type),
                     coffer_type_name(type));
}
