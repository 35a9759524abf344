/* SPDX-License-Identifier: Apache-2.0 */
/* Records of bucket layouts: refused, or written again as the same bytes and usable. */
#include "search/bucket.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bucket_layout layout;
    uint8_t value[ORDER_WIDTH_MAX];
    struct buf again;

    if (bucket_layout_parse(bytes_of(data, len), &layout, NULL) != COFFER_OK)
        return 0;
    buf_init(&again, 8u << 20);
    memset(value, 0x80, sizeof value);
    if (bucket_layout_write(&layout, &again, NULL) != COFFER_OK ||
        !bytes_equal(buf_view(&again), bytes_of(data, len)) ||
        bucket_of(&layout, value) >= layout.buckets)
        abort();
    buf_wipe(&again);
    bucket_layout_wipe(&layout);
    return 0;
}
