/* SPDX-License-Identifier: Apache-2.0 */
/* A keyring with one of everything and nothing random in it: encoded, it always gives the same bytes. */
#ifndef COFFER_TESTS_KEYRING_SAMPLE_H
#define COFFER_TESTS_KEYRING_SAMPLE_H

#include "keyring/keyring.h"

#define SAMPLE_ACTIVE_ID 0x11111111u
#define SAMPLE_PROVEN_ID 0x22222222u
#define SAMPLE_ESCROWED_ID 0x33333333u
#define SAMPLE_EPOCH 41 /* the file is of the next */

/* Under the key 00 01 02 … 1f, or a passphrase with a fixed salt: "correct horse battery staple".  Asserts. */
struct keyring *keyring_sample(bool passphrase);
struct kek *keyring_sample_kek(bool passphrase);

#endif
