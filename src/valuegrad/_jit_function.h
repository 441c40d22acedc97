/* The code around the operations: a function's entry and exit, constants, guards that fail.
 *
 * Why: System V ABI for x86-64: arguments in rdi, rsi, rdx, rcx, r8; rbx, rbp and r12 to r15 are the caller's and must
 * be restored; rsp is a multiple of 16 at a call; no vector register survives one.
 *
 * Data structures
 *   a loop     where the code computes more blocks than fit into registers at once.  There is one for each stretch of
 *              instructions between two calls; a function computes all blocks in one call, so that their latencies
 *              overlap.  Long stretches are cut, so that each is in the processor's first cache while all blocks run
 *              through it.
 *   JitFailing  a guard's rare way: one jump out of the code, and one back.
 *
 * Where to start reading: jit_begin_function. */
#ifndef VALUEGRAD_JIT_FUNCTION_H
#define VALUEGRAD_JIT_FUNCTION_H

#include "_jit_registers.h"

enum { JIT_BLOCKS = 24, JIT_PAIRS = 28 }; /* on the stack: how many blocks there are, and how many pairs of blocks */
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

/* How many lanes a block has. */
static inline unsigned jit_lanes(const Jit *jit) { return VG_BLOCK_BYTES / (jit->float32 ? 4 : 8); }

/* The lanes of a pass, as bits. */
static inline uint32_t jit_all_lanes(const Jit *jit) {
    return (uint32_t)(((uint64_t)1 << jit_lanes(jit) * (unsigned)jit->pass) - 1);
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

/* A 64-bit operation of a general register with a number: opcode, ModR/M. */
static void jit_general(Jit *jit, const char *three_bytes, int32_t number) {
    x86_plain(&jit->code, 3, three_bytes);
    x86_word(&jit->code, (uint32_t)number);
}

/* Code from here on runs for all blocks with valid lanes, `pass` of them at a time: base registers go from block to
 * block. */
static void jit_begin_loop(Jit *jit, int pass) {
    jit->loop = jit->code.size;
    if (jit->blocks == pass) return;
    X86_PLAIN(&jit->code, "\x44\x8B\x64\x24"); /* mov r12d, [rsp + ...] */
    x86_byte(&jit->code, pass == 1 ? JIT_BLOCKS : JIT_PAIRS);
    jit->loop_start = jit->code.size;
}

static void jit_end_loop(Jit *jit, int pass) {
    const int lanes = pass * (int)jit_lanes(jit), passes = jit->blocks / pass;
    if (passes == 1) return;
    if (jit->code.size == jit->loop_start) { /* nothing to do between two calls */
        jit->code.size = jit->loop;
        return;
    }
    jit_general(jit, "\x48\x81\xC3", pass * VG_BLOCK_BYTES); /* add rbx */
    jit_general(jit, "\x49\x81\xC6", lanes * 4);             /* add r14 */
    X86_PLAIN(&jit->code, "\x49\xC1\xEF");                    /* shr r15, lanes */
    x86_byte(&jit->code, (unsigned)lanes);
    X86_PLAIN(&jit->code, "\x41\xFF\xCC\x0F\x85"); /* dec r12d; jnz loop_start */
    x86_word(&jit->code, (uint32_t)(jit->loop_start - (jit->code.size + 4)));
    X86_PLAIN(&jit->code, "\x48\x8B\x5C\x24\x08\x4C\x8B\x74\x24\x10\x4C\x8B\x3C\x24"); /* what they were at first */
}

/* AVX-512: the valid lanes of a part in a mask register. */
static void jit_load_valid(Jit *jit, int part) {
    if (part == 1) {
        X86_PLAIN(&jit->code, "\x44\x89\xF8\xC1\xE8"); /* mov eax, r15d; shr eax, lanes */
        x86_byte(&jit->code, jit_lanes(jit));
    }
    x86_vex(&jit->code, jit_form(jit, X86_KSET), JIT_VALID_MASK, X86_NONE, /* kmovw k7, r32 */
            x86_register(part == 1 ? X86_RAX : JIT_VALID), 0, -1);
}

/* AVX2: the valid lanes as a mask of all ones or all zeros, in a slot: each lane's bit of r15, compared. */
static void jit_store_valid(Jit *jit) {
    const unsigned partner = jit->numbers.apart;
    X86Place bits = x86_pool(JIT_LANES);
    bits.step = VG_BLOCK_BYTES / 2;
    X86_PLAIN(&jit->code, "\xC4\xC1\xF9\x6E\xC7"); /* vmovq xmm0, r15 */
    x86_vex(&jit->code, jit_form(jit, X86_PSPREAD), partner, X86_NONE, x86_register(0), 1, -1);
    x86_vex(&jit->code, jit_form(jit, X86_PSPREAD), 0, X86_NONE, x86_register(0), 1, -1);
    jit_emit(jit, X86_PAND, 0, 0, bits, -1);
    jit_emit(jit, X86_PEQUAL, 0, 0, bits, -1);
    jit_emit(jit, X86_SAVE, 0, X86_NONE, jit_slot(jit, jit->valid_slot), -1);
}

/* Base registers as they are at first, and how many blocks have valid lanes: those up to the highest bit of r8. */
static void jit_count_blocks(Jit *jit) {
    if (jit->blocks == 1) return;
    X86_PLAIN(&jit->code, "\x48\x89\x5C\x24\x08\x4C\x89\x74\x24\x10"); /* mov [rsp + 8], rbx; mov [rsp + 16], r14 */
    X86_PLAIN(&jit->code, "\x49\x0F\xBD\xC0\xC1\xE8");                 /* bsr rax, r8; shr eax, log2 of a block's lanes */
    x86_byte(&jit->code, jit_lanes(jit) == 16 ? 4 : 3);
    X86_PLAIN(&jit->code, "\xFF\xC0\x89\x44\x24\x18");         /* inc eax; mov [rsp + JIT_BLOCKS], eax */
    X86_PLAIN(&jit->code, "\xFF\xC0\xD1\xE8\x89\x44\x24\x1C"); /* inc eax; shr eax, 1; mov [rsp + JIT_PAIRS], eax */
}

static void jit_begin_function(Jit *jit) {
    X86_PLAIN(&jit->code, "\x55\x53\x41\x54\x41\x55\x41\x56\x41\x57"); /* push rbp, rbx, r12, r13, r14, r15 */
    X86_PLAIN(&jit->code, "\x48\x83\xEC\x28\x4C\x89\x04\x24");         /* sub rsp, 40; mov [rsp], r8 */
    jit_lea(jit, JIT_FRAME, x86_memory(X86_RDI, JIT_BIAS * jit->blocks * VG_BLOCK_BYTES));
    jit_lea(jit, JIT_UNIFORM, x86_memory(X86_RSI, JIT_BIAS * (jit->float32 ? 4 : 8)));
    X86_PLAIN(&jit->code, "\x49\x89\xD5\x49\x89\xCE\x4D\x89\xC7"); /* mov r13, rdx; mov r14, rcx; mov r15, r8 */
    jit_count_blocks(jit);
    jit_begin_loop(jit, jit->pass);
    if (!jit->wide && jit->valid_slot != JIT_NOWHERE) jit_store_valid(jit);
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
    jit_end_loop(jit, jit->pass);
    X86_PLAIN(&jit->code, "\xC5\xF8\x77");                                     /* vzeroupper */
    X86_PLAIN(&jit->code, "\x48\x83\xC4\x28");                                 /* add rsp, 40 */
    X86_PLAIN(&jit->code, "\x41\x5F\x41\x5E\x41\x5D\x41\x5C\x5B\x5D\xC3"); /* pop them; ret */
    jit_write_failing(jit);
}

#endif
