/* The code around the operations: a function's entry and exit, the two halves of AVX2, calls, guards that fail.
 *
 * Why: System V ABI for x86-64: arguments in rdi, rsi, rdx, rcx, r8; rbx, rbp and r12 to r15 are the caller's and must
 * be restored; rsp is a multiple of 16 at a call; no vector register survives one.
 *
 * Data structures
 *   stretch    AVX2: code between two calls.  It is a loop of two passes, the upper half of each slot first: the base
 *              registers are half a slot further then.
 *   JitFailing  a guard's rare way: one jump out of the code, and one back.
 *
 * Where to start reading: jit_begin_function. */
#ifndef VALUEGRAD_JIT_FUNCTION_H
#define VALUEGRAD_JIT_FUNCTION_H

#include "_jit_registers.h"

enum { JIT_VALID_MASK = 7 }; /* AVX-512: the valid lanes, where a segment sums over them */

typedef struct JitFailing {
    size_t left; /* the first byte after the jump out: where to come back to */
    uint32_t number;
} JitFailing;

/* How an operation is lowered: a function, and what it needs to know. */
typedef struct JitLowering {
    void (*lower)(Jit *jit, int32_t i, const struct JitLowering *how);
    uint8_t instruction;
    uint8_t detail; /* commutes; an immediate; a constant's offset in the pool: the function knows */
    uint8_t turned; /* a comparison's immediate when its operands change places */
} JitLowering;

/* The lanes that one pass of the code computes, as bits. */
static inline uint32_t jit_all_lanes(const Jit *jit) {
    const int lanes = VG_BLOCK_BYTES / (jit->float32 ? 4 : 8);
    return (1u << (jit->wide ? lanes : lanes / 2)) - 1;
}

/* The constants before the code. */
static void jit_write_pool(Jit *jit) {
    const uint64_t narrow[] = {0, 0x3F800000, 0x80000000, 0x7FFFFFFF, 0xFFFFFFFF};
    const uint64_t full[] = {0, 0x3FF0000000000000, 0x8000000000000000, 0x7FFFFFFFFFFFFFFF, UINT64_MAX};
    uint8_t *pool = jit->code.at;
    memset(pool, 0, JIT_POOL_BYTES);
    for (int at = 0; at < JIT_LANES; at += 8) {
        const uint64_t number = jit->float32 ? narrow[at / 32] << 32 | narrow[at / 32] : full[at / 32];
        memcpy(pool + at, &number, 8);
    }
    for (int lane = 0; lane < (jit->float32 ? 16 : 8); lane++)
        pool[JIT_LANES + lane * (jit->float32 ? 4 : 8) + lane / 8] = (uint8_t)(1 << lane % 8);
    jit->code.size = JIT_POOL_BYTES;
}

/* rax = eight bytes. */
static void jit_constant_word(Jit *jit, const void *word) {
    X86_PLAIN(&jit->code, "\x48\xB8");
    memcpy(jit->code.at + jit->code.size, word, 8);
    jit->code.size += 8;
}

/* lea reg, place: reg is one of the first eight. */
static void jit_lea(Jit *jit, unsigned reg, X86Place place) {
    X86_PLAIN(&jit->code, "\x48\x8D");
    x86_modrm(&jit->code, reg, place, 0, 0);
}

/* A jump's four bytes, so that it leads to `target`. */
static void jit_patch(X86Bytes *code, size_t after, size_t target) {
    const uint32_t distance = (uint32_t)(target - after);
    if (!code->failed) memcpy(code->at + after - 4, &distance, 4);
}

/* AVX2: the base registers move by half a slot, up or down. */
static void jit_move_half(Jit *jit, int up) {
    X86Bytes *code = &jit->code;
    const int half = VG_BLOCK_BYTES / 2, failed = jit->float32 ? half : half / 2;
    x86_room(code, 2 * X86_LONGEST);
    x86_byte(code, 0x48), x86_byte(code, 0x83); /* add rbx */
    x86_byte(code, 0xC3), x86_byte(code, (unsigned)(up ? half : -half) & 0xFF);
    x86_byte(code, 0x49), x86_byte(code, 0x83); /* add r13 */
    x86_byte(code, 0xC5), x86_byte(code, (unsigned)(up ? half : -half) & 0xFF);
    x86_byte(code, 0x49), x86_byte(code, 0x83); /* add r14 */
    x86_byte(code, 0xC6), x86_byte(code, (unsigned)(up ? failed : -failed) & 0xFF);
}

/* Code from here on runs for the upper half, then for the lower one, so that lane 0 is stored last. */
static void jit_begin_stretch(Jit *jit) {
    if (jit->wide) {
        if (jit->valid_slot != JIT_NOWHERE) /* kmovw k7, r15d */
            jit_emit_mask(jit, X86_KSET, JIT_VALID_MASK, 0, x86_register(JIT_VALID));
        return;
    }
    jit->stretch = jit->code.size;
    jit_move_half(jit, 1);
    X86_PLAIN(&jit->code, "\x41\xBC\x01\x00\x00\x00"); /* mov r12d, 1 */
    jit->stretch_start = jit->code.size;
}

static void jit_end_stretch(Jit *jit) {
    if (jit->wide) return;
    if (jit->code.size == jit->stretch_start) { /* nothing to do between two calls */
        jit->code.size = jit->stretch;
        return;
    }
    jit_move_half(jit, 0);
    X86_PLAIN(&jit->code, "\x41\xFF\xCC\x0F\x89"); /* dec r12d; jns stretch_start */
    x86_word(&jit->code, (uint32_t)(jit->stretch_start - (jit->code.size + 4)));
    jit_move_half(jit, 1);
}

/* AVX2: the valid lanes as a mask of all ones or all zeros, in a slot: each lane's bit of r15, compared. */
static void jit_store_valid(Jit *jit) {
    for (int half = 0; half < 2; half++) {
        X86Place slot = jit_slot(jit->valid_slot);
        slot.at += half * VG_BLOCK_BYTES / 2;
        X86_PLAIN(&jit->code, "\xC4\xC1\xF9\x6E\xC7"); /* vmovq xmm0, r15 */
        jit_emit(jit, X86_PSPREAD, 0, 0, x86_register(0), -1);
        jit_emit(jit, X86_PAND, 0, 0, x86_pool(JIT_LANES + half * VG_BLOCK_BYTES / 2), -1);
        jit_emit(jit, X86_PEQUAL, 0, 0, x86_pool(JIT_LANES + half * VG_BLOCK_BYTES / 2), -1);
        jit_emit(jit, X86_SAVE, 0, 0, slot, -1);
    }
}

static void jit_begin_function(Jit *jit) {
    X86_PLAIN(&jit->code, "\x55\x53\x41\x54\x41\x55\x41\x56\x41\x57"); /* push rbp, rbx, r12, r13, r14, r15 */
    X86_PLAIN(&jit->code, "\x48\x83\xEC\x08");                         /* sub rsp, 8 */
    jit_lea(jit, JIT_FRAME, x86_memory(X86_RDI, JIT_BIAS * VG_BLOCK_BYTES));
    jit_lea(jit, JIT_UNIFORM, x86_memory(X86_RSI, JIT_BIAS * (jit->float32 ? 4 : 8)));
    X86_PLAIN(&jit->code, "\x49\x89\xD5\x49\x89\xCE\x4D\x89\xC7"); /* mov r13, rdx; mov r14, rcx; mov r15, r8 */
    if (!jit->wide && jit->valid_slot != JIT_NOWHERE) jit_store_valid(jit);
    jit_begin_stretch(jit);
}

/* Guard `number`: eax has its lanes' outcomes as bits; go on unless one is not as expected. */
static void jit_leave_if_failing(Jit *jit, uint32_t number) {
    JitFailing *failing;
    x86_room(&jit->code, 2 * X86_LONGEST);
    x86_byte(&jit->code, 0x3D); /* cmp eax, expected */
    x86_word(&jit->code, number & 1 ? jit_all_lanes(jit) : 0);
    x86_byte(&jit->code, 0x0F), x86_byte(&jit->code, 0x85); /* jne, patched by jit_write_failing */
    x86_word(&jit->code, 0);
    if (jit->guard_count == jit->guard_capacity) {
        const int32_t capacity = 2 * jit->guard_capacity + 64;
        failing = (JitFailing *)realloc(jit->guards, (size_t)capacity * sizeof(JitFailing));
        if (failing == NULL) {
            jit->failed = 1;
            return;
        }
        jit->guards = failing;
        jit->guard_capacity = capacity;
    }
    failing = &jit->guards[jit->guard_count++];
    failing->left = jit->code.size;
    failing->number = number;
}

/* The rare ways of all guards, after the function's end: failed = min(failed, k) in the failing lanes.  They are one
 * routine; only general registers change, so that nothing has to be saved. */
static void jit_write_failing(Jit *jit) {
    X86Bytes *code = &jit->code;
    const size_t routine = code->size;
    if (jit->guard_count == 0) return;
    X86_PLAIN(code, "\x0F\xBC\xC8"        /* next: bsf ecx, eax: a failing lane */
                    "\x41\x39\x14\x8E"     /* cmp [r14 + 4 rcx], edx */
                    "\x7E\x04"             /* jle +4: an earlier guard failed there */
                    "\x41\x89\x14\x8E"     /* mov [r14 + 4 rcx], edx */
                    "\x8D\x48\xFF"         /* lea ecx, [rax - 1] */
                    "\x21\xC8"             /* and eax, ecx: without the lowest bit */
                    "\x75\xEC"             /* jnz next */
                    "\xC3");               /* ret */
    for (int32_t g = 0; g < jit->guard_count; g++) {
        const JitFailing *failing = &jit->guards[g];
        jit_patch(code, failing->left, code->size);
        x86_room(code, 2 * X86_LONGEST);
        x86_byte(code, 0x35); /* xor eax, expected */
        x86_word(code, failing->number & 1 ? jit_all_lanes(jit) : 0);
        x86_byte(code, 0xBA); /* mov edx, k */
        x86_word(code, failing->number >> 1);
        x86_byte(code, 0xE8); /* call routine */
        x86_word(code, (uint32_t)(routine - (code->size + 4)));
        x86_byte(code, 0xE9); /* jmp back */
        x86_word(code, (uint32_t)(failing->left - (code->size + 4)));
    }
}

static void jit_end_function(Jit *jit) {
    jit_end_stretch(jit);
    X86_PLAIN(&jit->code, "\xC5\xF8\x77");                                     /* vzeroupper */
    X86_PLAIN(&jit->code, "\x48\x83\xC4\x08");                                 /* add rsp, 8 */
    X86_PLAIN(&jit->code, "\x41\x5F\x41\x5E\x41\x5D\x41\x5C\x5B\x5D\xC3"); /* pop them; ret */
    jit_write_failing(jit);
}

#endif
