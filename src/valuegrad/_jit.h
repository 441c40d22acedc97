/* The place of the assembler: no machine has one yet, so every program is interpreted. */
#ifndef VALUEGRAD_JIT_H
#define VALUEGRAD_JIT_H

#include "_machine.h"

static int vg_jit_available(void) { return 0; }

static VgSegmentFunction vg_jit_compile(const VgSegment *segment, int is_float32, int strict, int32_t *slots_needed,
                                        size_t *code_bytes, void **memory, size_t *memory_bytes) {
    (void)segment; (void)is_float32; (void)strict; (void)slots_needed; (void)code_bytes; (void)memory; (void)memory_bytes;
    return NULL;
}

static void vg_jit_free(void *memory, size_t memory_bytes) { (void)memory; (void)memory_bytes; }

#endif
