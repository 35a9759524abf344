/* SPDX-License-Identifier: Apache-2.0 */
/* The known answers, in the program itself: the file that the tests read, byte for byte. */
#include "cli/selftest_data.h"

__asm__(".section .rodata\n"
        "selftest_begin:\n"
        ".incbin \"" COFFER_VECTORS "\"\n"
        "selftest_end:\n"
        ".byte 0\n"
        ".previous\n");
extern const uint8_t selftest_begin[], selftest_end[];

struct bytes
selftest_vectors(void)
{
    return bytes_of(selftest_begin, (size_t)((uintptr_t)selftest_end - (uintptr_t)selftest_begin));
}
