/* SPDX-License-Identifier: Apache-2.0 */
#include "field/internal.h"

bool
numeric_valid(struct bytes text)
{
    size_t i = 0, whole = 0, fraction = 0;

    if (bytes_equal(text, bytes_str("NaN")) || bytes_equal(text, bytes_str("Infinity")) ||
        bytes_equal(text, bytes_str("-Infinity")))
        return true;
    if (i < text.len && text.ptr[i] == '-')
        i++;
    for (; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++)
        whole++;
    if (whole == 0)
        return false;
    if (i == text.len)
        return true;
    if (text.ptr[i++] != '.')
        return false;
    for (; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++)
        fraction++;
    return fraction > 0 && i == text.len;
}
