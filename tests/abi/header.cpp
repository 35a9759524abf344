// SPDX-License-Identifier: Apache-2.0
// coffer.h is C++ too: it compiles without warnings, and its names link as C.
#include "coffer.h"

#include <cstring>

int
main()
{
    coffer_envelope_info info;
    coffer_cell cell = {};

    if (coffer_envelope_parse("plain", 5, &info) != COFFER_E_FORMAT)
        return 1;
    if (coffer_seal(nullptr, &cell, 1, nullptr) != COFFER_E_MISUSE)
        return 1;
    if (coffer_ore_valid("\1", 1) || coffer_ore_valid(nullptr, 0))
        return 1;
    const unsigned char bound1[20] = {1, 0, 0, 1}, bound2[20] = {1, 0, 0, 2};
    if (!coffer_ore_valid(bound1, sizeof bound1) || coffer_ore_compare(bound1, bound2) >= 0)
        return 1;
    return std::strcmp(coffer_status_name(COFFER_E_AUTH), "auth") != 0;
}
