/* SPDX-License-Identifier: Apache-2.0 */
/* Indexes of protected columns: added, given another key, dropped, while the database is in use.
 *
 *   add     columns made ─▶ keyring: filling ─▶ gate ─▶ [fill in] ─▶ index and constraint ─▶ keyring: ready
 *   rotate  key staged ─▶ gate ─▶ active ─▶ gate ─▶ [fill in under it] ─▶ none left ─▶ former key proven
 *   drop    keyring: dropping ─▶ gate ─▶ constraint, index, columns dropped ─▶ keyring: gone
 *
 * Each step looks at what is already so: the same command goes on where one stopped.  A gate waits until every client has shown the
 * keyring, so that whoever writes an envelope writes its terms, and nobody asks by terms that are not there yet.
 */
#ifndef COFFER_ROTATE_INDEX_H
#define COFFER_ROTATE_INDEX_H

#include "rotate/rotate.h"

struct rotate_index {
    const char *column;        /* "table.column" */
    struct keyring_index def;  /* kind and what goes with it; id, group, column, state, line are filled in; store: "" for the usual name */
};
/* REFUSED  the column is not sealed, or the definition is none for its type     EXISTS  it has one of this kind with other options */
COFFER_MUST_CHECK int rotate_index_add(const struct rotate_env *env, const struct rotate_index *indexes, size_t count,
                                       const struct rotate_options *options, struct coffer_error *err);
/* `kind` 0: all of the column. */
COFFER_MUST_CHECK int rotate_index_drop(const struct rotate_env *env, const char *column, int kind, const struct rotate_options *options,
                                        struct coffer_error *err);
COFFER_MUST_CHECK int rotate_index_key(const struct rotate_env *env, const char *column, int kind, const struct rotate_options *options,
                                       struct coffer_error *err);
#endif
