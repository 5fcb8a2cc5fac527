/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a fuzzer's engine calls
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A target is one function, as libFuzzer has it.  It is linked with libFuzzer
 * (make fuzz) or with replay.c, which feeds it the files of its corpus (make
 * check).  A finding is an abort, or what a sanitizer says.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Takes numbers from an input from its front; 0 when it has been used up. */
typedef struct FuzzInput {
    const uint8_t *data;
    size_t size;
} FuzzInput;

static inline uint8_t fuzz_u8(FuzzInput *in)
{
    if (!in->size) {
        return 0;
    }
    in->size--;
    return *in->data++;
}

static inline uint16_t fuzz_u16(FuzzInput *in)
{
    uint16_t high = fuzz_u8(in);

    return high << 8 | fuzz_u8(in);
}

#endif
