/* SPDX-License-Identifier: Apache-2.0 */
/* Our side of the comparison with paillier-bigint: one command a line on standard input, one answer a line.  The key is made
 * for the test and told.
 *
 *   key             p, q, n in hex
 *   encrypt NUMBER  ciphertext in hex, by the owner and by the public key in turn
 *   decrypt HEX     number */
#include "sums/paillier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct paillier_private *owner;
static struct paillier_public *writer;
static struct paillier_pool *pools[2];

static void
check(int rc)
{
    if (rc == COFFER_OK)
        return;
    fprintf(stderr, "paillier_tool: %s\n", coffer_status_name(rc));
    exit(1);
}

static void
print_hex(const uint8_t *bytes, size_t len, const char *end)
{
    for (size_t i = 0; i < len; i++)
        printf("%02x", bytes[i]);
    printf("%s", end);
}

int
main(void)
{
    uint8_t n[PAILLIER_N_LEN], hs[PAILLIER_C_LEN], plain[PAILLIER_N_LEN], c[PAILLIER_C_LEN];
    struct secret *primes;
    char line[2000], text[INT128_TEXT_MAX];
    unsigned turn = 0;
    int128 value;
    size_t len;

    check(paillier_generate(&primes, NULL));
    check(paillier_private_new(primes, &owner, NULL));
    check(paillier_publish(owner, n, hs, NULL));
    check(paillier_public_new(bytes_of(n, sizeof n), bytes_of(hs, sizeof hs), &writer, NULL));
    check(paillier_pool_new(writer, owner, 0, &pools[0], NULL));
    check(paillier_pool_new(writer, NULL, 0, &pools[1], NULL));
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, "key") == 0) {
            print_hex(secret_expose(primes).ptr, PAILLIER_PRIME_LEN, " ");
            print_hex(secret_expose(primes).ptr + PAILLIER_PRIME_LEN, PAILLIER_PRIME_LEN, " ");
            print_hex(n, sizeof n, "\n");
        } else if (strncmp(line, "encrypt ", 8) == 0 && int128_parse(bytes_str(line + 8), &value)) {
            paillier_plain(writer, value, plain);
            check(paillier_encrypt(pools[turn++ % 2], plain, c, NULL));
            print_hex(c, sizeof c, "\n");
        } else if (strncmp(line, "decrypt ", 8) == 0 &&
                   hex_decode(bytes_str(line + 8), c, sizeof c, &len) && len == sizeof c) {
            check(paillier_decrypt(owner, c, plain, NULL));
            check(paillier_value(writer, plain, &value, NULL));
            int128_format(value, text);
            printf("%s\n", text);
        } else {
            check(COFFER_E_FORMAT);
        }
        fflush(stdout);
    }
    paillier_pool_free(pools[0]);
    paillier_pool_free(pools[1]);
    paillier_public_free(writer);
    paillier_private_free(owner);
    secret_free(primes);
    return 0;
}
