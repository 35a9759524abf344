/* SPDX-License-Identifier: Apache-2.0 */
/* What a restored copy holds, beside what the keyring says of it. */
#ifndef COFFER_ROTATE_RECOVER_H
#define COFFER_ROTATE_RECOVER_H

#include "rotate/machine.h"

/* One column by its name: the record in force and those that ended with an unprotect. */
struct found_column {
    const struct keyring_column *current;  /* NULL: unprotected since */
    const struct keyring_column **retired; /* oldest first */
    size_t retired_count;
    uint64_t plaintext;     /* cells of `current`: not NULL, and no envelope */
    bool retired_envelopes; /* some look as if a retired record's key sealed them */
    const struct keyring_column
        *owner; /* whose envelopes are there; NULL: nobody's, or not looked at yet */
};
struct survey {
    struct found_column *columns;
    size_t count;
    uint32_t *
        keys; /* that the cells name: of columns in force all, of retired records those the keyring knows */
    size_t key_count;
};
/* Count what is there.  Nothing is changed, and no key is needed.  `lenient`: the operator states that this is a
 * restore, so that bytes that look like an envelope under a key nobody knows are plaintext.  The pointers are into
 * s->keyring: valid until its next change. */
COFFER_MUST_CHECK int survey_count(struct session *s, bool lenient, struct survey *out,
                                   struct coffer_error *err);
/* Try whose envelopes they are, where more than one record comes into question; needs the keys.  Sets `owner`. */
COFFER_MUST_CHECK int survey_owners(struct session *s, struct survey *survey,
                                    struct coffer_error *err);
void survey_free(struct survey *survey);

/* A run that died between the keyring's acceptance of a new incarnation and the database's: no
 * restore.  `*finished`: it was that, and the database has it now. */
COFFER_MUST_CHECK int interrupted_finish(struct session *s, bool *finished,
                                         struct coffer_error *err);

#endif
