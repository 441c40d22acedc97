/* Which register holds what, while a segment becomes machine code (_jit.h): linear-scan allocation of one basic block.
 *
 * Why: a segment is straight-line code, often far longer than 32 registers reach, and compile time counts.  Walking
 * once backwards tells for each use of a value when its next use is; walking forwards then, the register whose value
 * is used farthest ahead gives way (Belady 1966: the fewest reloads).  A value is stored at most once, for it never
 * changes (SSA); what lies in memory is an operand as it is, so loads are rare too.
 *
 * Data structures
 *   values     instruction results, then the segment's uniforms, then the frame's slots: all numbered 0, 1, ...
 *   positions  the uses of values in the order in which code consumes them; `next[p]` is the position of the same
 *              value's next use.
 *   JitFile    a kind of register: vectors of numbers; and conditions.  AVX-512 keeps these in mask registers, AVX2 as
 *              vectors of all ones or all zeros, in the same registers as numbers.
 *   slots      of the frame: from `segment->slots` on for values that gave way; reused after their last use.
 *   parts      of a value: two vectors where two blocks run at once (AVX-512), or where a block is that wide (AVX2).
 *              Register r stands for itself and its partner r + apart then, and each instruction is written twice.
 *              Neither has to wait for the other's result, so a long chain of operations runs nearly twice as fast.
 *
 * An instruction's life: jit_advance (its operands' uses are now past; what is in a register stays there), then
 * jit_in_register, jit_in_place or jit_in_mask for each operand, jit_release (the last use frees a register),
 * jit_define (a register for the result), the code, jit_settle (the last use frees a slot).
 *
 * Where to start reading: Jit, then jit_allocate. */
#ifndef VALUEGRAD_JIT_REGISTERS_H
#define VALUEGRAD_JIT_REGISTERS_H

#include "_machine.h"
#include "_x86.h"

enum { JIT_NEVER = INT32_MAX, JIT_NOWHERE = -1 };

/* Base registers, kept by every function that we call (System V ABI).  The frame's points 128 slots into it and the
 * uniforms' 128 numbers, so that twice as many displacements fit into a byte. */
enum { JIT_FRAME = X86_RBX, JIT_UNIFORM = X86_RBP, JIT_SUMS = X86_R13, JIT_FAILED = X86_R14 };
enum { JIT_PASSES = X86_R12, JIT_VALID = X86_R15 }; /* passes that are left; the valid lanes from this one on */
enum { JIT_BIAS = 128 };

/* Constants before the code, by their offset: each 32 bytes of equal numbers, which AVX2 reads as they are; AVX-512
 * broadcasts the first.  Then each lane's bit in `valid_bits`, for AVX2. */
enum { JIT_ZERO = 0, JIT_ONE = 32, JIT_SIGN = 64, JIT_MAGNITUDE = 96, JIT_TRUE = 128, JIT_LANES = 160 };
enum { JIT_POOL_BYTES = 256 };

typedef struct JitFile {
    int32_t value[32], next[32]; /* of a register in use: the value in it, and its next use */
    uint32_t usable;             /* sets of registers, as bits: those that there are */
    uint32_t free;               /* in no use */
    uint32_t busy;               /* an operand or result of the instruction at hand, or not usable: must not give way */
    uint32_t held;               /* stays busy through all steps of the instruction at hand */
    uint32_t scratch;            /* holds no value, and is free after the step at hand */
    unsigned apart;              /* from a register to its partner, which holds the second part of its value */
} JitFile;

typedef struct JitList {
    int32_t *at;
    int32_t count, capacity;
} JitList;

typedef struct Jit {
    X86Bytes code;
    const VgSegment *segment;
    int float32, strict, wide;      /* wide: AVX-512; else AVX2 */
    int parts;                      /* vectors that make up a value: 1 or 2 */
    int blocks;                     /* that a call of the code computes, side by side in slots that wide */
    int pass;                       /* how many of them at once: the parts (AVX-512), or 1 (AVX2) */
    int32_t *value, *next;          /* by position */
    int32_t *upcoming;              /* by value: the position of its next use, or JIT_NEVER */
    int32_t *home;                  /* by value: its slot in the frame, or JIT_NOWHERE; of a uniform: its index */
    int8_t *reg;                    /* by value: its register, or JIT_NOWHERE */
    JitFile numbers, masks;
    int32_t slots;                  /* of the frame, so far */
    int32_t spills, most_spills;    /* values that gave way; from how many on the code is not worth it */
    JitList spare;                  /* slots in no use: a stack */
    JitList leaving;                /* slots whose values were used for the last time by the step at hand */
    struct JitFailing *guards;      /* _jit_function.h */
    int32_t guard_count, guard_capacity;
    int32_t norm_slot;              /* from here on there is room for the operands of the longest norm */
    size_t loop, loop_start;        /* where it begins: before it is set up, and after */
    int32_t valid_slot;             /* AVX2: where the valid lanes are as a mask; JIT_NOWHERE if nobody asks */
    int failed;                     /* no memory, or too many spills */
} Jit;

static inline int jit_is_condition(const Jit *jit, int32_t value) {
    return value < jit->segment->count && jit->segment->op[value] >= VG_OP_lt && jit->segment->op[value] <= VG_OP_not;
}

static inline int jit_is_uniform(const Jit *jit, int32_t value) {
    return (uint32_t)(value - jit->segment->count) < (uint32_t)jit->segment->uniforms;
}

static inline JitFile *jit_file(Jit *jit, int32_t value) {
    return jit->wide && jit_is_condition(jit, value) ? &jit->masks : &jit->numbers;
}

static inline const X86Form *jit_form(const Jit *jit, X86Instruction instruction) {
    return &X86_FORMS[instruction][jit->float32];
}

/* A place's second part. */
static inline X86Place jit_partner(X86Place place, unsigned apart) {
    if (place.kind == X86_REGISTER) place.reg = (uint8_t)(place.reg + apart);
    place.at += place.step;
    return place;
}

/* AVX-512: reg = instruction(second, place) in the lanes of `mask`; `immediate` is -1 where there is none. */
static inline void jit_emit_masked(Jit *jit, X86Instruction instruction, unsigned reg, unsigned second, X86Place place,
                                   unsigned mask, int immediate) {
    const X86Form *form = jit_form(jit, instruction);
    const unsigned apart = jit->numbers.apart;
    x86_evex(&jit->code, form, reg, second, place, mask, immediate);
    if (jit->parts == 1) return;
    reg += instruction == X86_COMPARE ? jit->masks.apart : apart;
    if (second != X86_NONE) second += apart;
    if (mask) mask += jit->masks.apart;
    x86_evex(&jit->code, form, reg, second, jit_partner(place, apart), mask, immediate);
}

/* reg = instruction(second, place); AVX2's fourth operand, a register, is an immediate. */
static inline void jit_emit(Jit *jit, X86Instruction instruction, unsigned reg, unsigned second, X86Place place,
                            int immediate) {
    const unsigned apart = jit->numbers.apart;
    if (jit->wide) {
        jit_emit_masked(jit, instruction, reg, second, place, 0, immediate);
        return;
    }
    x86_vex(&jit->code, jit_form(jit, instruction), reg, second, place, 1, immediate);
    if (second != X86_NONE) second += apart;
    if (instruction == X86_BLENDV) immediate += (int)(apart << 4); /* a register too */
    x86_vex(&jit->code, jit_form(jit, instruction), reg + apart, second, jit_partner(place, apart), 1, immediate);
}

/* The same for mask registers. */
static inline void jit_emit_mask(Jit *jit, X86Instruction instruction, unsigned reg, unsigned second, X86Place place) {
    const X86Form *form = jit_form(jit, instruction);
    const unsigned wide = instruction == X86_KAND || instruction == X86_KOR; /* VEX.L1 of the three-operand ones */
    const unsigned apart = jit->masks.apart;
    x86_vex(&jit->code, form, reg, second, place, wide, -1);
    if (jit->parts == 1) return;
    if (second != X86_NONE) second += apart;
    x86_vex(&jit->code, form, reg + apart, second, jit_partner(place, apart), wide, -1);
}

static inline X86Place jit_slot(const Jit *jit, int32_t slot) {
    X86Place place = x86_memory(JIT_FRAME, (slot - JIT_BIAS) * jit->blocks * VG_BLOCK_BYTES);
    place.step = jit->wide ? VG_BLOCK_BYTES : VG_BLOCK_BYTES / 2;
    return place;
}

static inline X86Place jit_uniform(const Jit *jit, int32_t index) {
    X86Place place = x86_memory(JIT_UNIFORM, (index - JIT_BIAS) * (jit->float32 ? 4 : 8));
    place.broadcast = 1;
    return place;
}

/* Where a value is that is in no register. */
static inline X86Place jit_home(const Jit *jit, int32_t value) {
    return jit_is_uniform(jit, value) ? jit_uniform(jit, jit->home[value]) : jit_slot(jit, jit->home[value]);
}

static int32_t jit_take_slot(Jit *jit) { return jit->spare.count ? jit->spare.at[--jit->spare.count] : jit->slots++; }

static inline void jit_push(Jit *jit, JitList *list, int32_t slot) {
    if (list->count == list->capacity) {
        const int32_t capacity = 2 * list->capacity + 64;
        int32_t *at = (int32_t *)realloc(list->at, (size_t)capacity * sizeof(int32_t));
        if (at == NULL) {
            jit->failed = 1;
            return;
        }
        list->at = at;
        list->capacity = capacity;
    }
    list->at[list->count++] = slot;
}

/* A slot is free once the step at hand has read it. */
static inline void jit_leave_slot(Jit *jit, int32_t slot) { jit_push(jit, &jit->leaving, slot); }

/* Copy a register that has no home yet to the frame. */
static void jit_spill(Jit *jit, JitFile *file, unsigned reg) {
    const int32_t value = file->value[reg];
    if (jit->home[value] != JIT_NOWHERE) return;
    jit->home[value] = jit_take_slot(jit);
    if (file == &jit->masks)
        jit_emit_mask(jit, X86_KSAVE, reg, X86_NONE, jit_home(jit, value));
    else
        jit_emit(jit, X86_SAVE, reg, X86_NONE, jit_home(jit, value), -1);
}

/* A busy register: a free one, or that of the value which is used farthest ahead. */
static unsigned jit_allocate(Jit *jit, JitFile *file, unsigned preferred) {
    unsigned reg;
    if (file->free >> preferred & 1) {
        reg = preferred;
    } else if (file->free) {
        reg = (unsigned)__builtin_ctz(file->free);
    } else {
        const uint32_t movable = ~file->busy;
        int32_t farthest = -1;
        reg = 0;
        for (unsigned r = 0; r < 32; r++) {
            const int32_t next = movable >> r & 1 ? file->next[r] : -1;
            if (next > farthest) farthest = next, reg = r;
        }
        if (jit->home[file->value[reg]] == JIT_NOWHERE && jit->spills++ == jit->most_spills) jit->failed = 1;
        jit_spill(jit, file, reg);
        jit->reg[file->value[reg]] = JIT_NOWHERE;
    }
    file->free &= ~(1u << reg);
    file->busy |= 1u << reg;
    return reg;
}

/* A busy register for the step at hand, for no value. */
static unsigned jit_scratch(Jit *jit, JitFile *file) {
    const unsigned reg = jit_allocate(jit, file, 0);
    file->scratch |= 1u << reg;
    return reg;
}

/* The uses at positions `from` to `to` are now past. */
static inline void jit_advance(Jit *jit, int32_t from, int32_t to) {
    for (int32_t p = from; p < to; p++) {
        const int32_t value = jit->value[p];
        jit->upcoming[value] = jit->next[p];
        if (jit->reg[value] != JIT_NOWHERE) {
            JitFile *file = jit_file(jit, value);
            file->next[jit->reg[value]] = jit->next[p];
            file->busy |= 1u << jit->reg[value];
        }
    }
}

/* A busy register for `value`. */
static inline unsigned jit_bind(Jit *jit, JitFile *file, int32_t value, unsigned preferred) {
    const unsigned reg = jit_allocate(jit, file, preferred);
    file->value[reg] = value;
    file->next[reg] = jit->upcoming[value];
    jit->reg[value] = (int8_t)reg;
    return reg;
}

/* The value's register; it is loaded where it is in memory. */
static unsigned jit_own_register(Jit *jit, int32_t value) {
    JitFile *file = jit_file(jit, value);
    unsigned reg;
    if (jit->reg[value] != JIT_NOWHERE) return (unsigned)jit->reg[value];
    reg = jit_bind(jit, file, value, 0);
    if (file == &jit->masks)
        jit_emit_mask(jit, X86_KLOAD, reg, X86_NONE, jit_home(jit, value));
    else
        jit_emit(jit, jit_is_uniform(jit, value) ? X86_SPREAD : X86_LOAD, reg, X86_NONE, jit_home(jit, value), -1);
    return reg;
}

/* A register with the value as numbers. */
static unsigned jit_in_register(Jit *jit, int32_t value) {
    unsigned mask, reg;
    if (!jit_is_condition(jit, value)) return jit_own_register(jit, value);
    mask = jit_own_register(jit, value);
    reg = jit_scratch(jit, &jit->numbers);
    if (jit->wide) {
        jit_emit_masked(jit, X86_SPREAD, reg, X86_NONE, x86_pool(JIT_ONE), X86_ZEROING | mask, -1);
    } else {
        jit_emit(jit, X86_AND, reg, mask, x86_pool(JIT_ONE), -1);
    }
    return reg;
}

/* A register, or memory that an instruction can read as it is, with the value as numbers. */
static inline X86Place jit_in_place(Jit *jit, int32_t value) {
    if (jit->reg[value] == JIT_NOWHERE && !jit_is_condition(jit, value) && (jit->wide || !jit_is_uniform(jit, value)))
        return jit_home(jit, value);
    return x86_register(jit_in_register(jit, value));
}

/* The comparisons of vcmppd: SDM, table 3-1 at CMPPD.  With a nan the first two hold, the others do not. */
enum { JIT_UNEQUAL = 4, JIT_UNORDERED = 3, JIT_EQUAL = 0 };
enum { JIT_LESS = 0x11, JIT_AT_MOST = 0x12, JIT_AT_LEAST = 0x1D, JIT_MORE = 0x1E };

/* A register with the value as a condition: a mask register, or all ones and all zeros. */
static unsigned jit_in_mask(Jit *jit, int32_t value) {
    unsigned reg = jit_own_register(jit, value), number = reg;
    if (jit_is_condition(jit, value)) return reg;
    reg = jit_scratch(jit, jit->wide ? &jit->masks : &jit->numbers);
    jit_emit(jit, X86_COMPARE, reg, number, x86_pool(JIT_ZERO), JIT_UNEQUAL);
    return reg;
}

/* Scratch registers are free, and the others may give way. */
static inline void jit_rest(Jit *jit) {
    jit->numbers.free |= jit->numbers.scratch;
    jit->masks.free |= jit->masks.scratch;
    jit->numbers.scratch = jit->masks.scratch = 0;
    jit->numbers.busy = jit->numbers.held;
    jit->masks.busy = jit->masks.held;
}

/* The operands at positions `from` to `to` are read: scratch registers, and those used for the last time, are free. */
static inline void jit_release(Jit *jit, int32_t from, int32_t to) {
    for (int32_t p = from; p < to; p++) {
        const int32_t value = jit->value[p];
        if (jit->upcoming[value] != JIT_NEVER) continue;
        if (jit->reg[value] != JIT_NOWHERE) {
            jit_file(jit, value)->free |= 1u << jit->reg[value];
            jit->reg[value] = JIT_NOWHERE;
        }
        if (value < jit->segment->count && jit->home[value] >= jit->segment->slots) {
            jit_leave_slot(jit, jit->home[value]);
            jit->home[value] = JIT_NOWHERE;
        }
    }
    jit_rest(jit);
}

/* After the code of a step. */
static inline void jit_settle(Jit *jit) {
    while (jit->leaving.count) jit_push(jit, &jit->spare, jit->leaving.at[--jit->leaving.count]);
    jit->numbers.busy = jit->numbers.held;
    jit->masks.busy = jit->masks.held;
}

/* A busy register for the result of instruction `value`. */
static inline unsigned jit_define(Jit *jit, int32_t value, unsigned preferred) {
    return jit_bind(jit, jit_file(jit, value), value, preferred);
}

/* A result that takes many steps: its register is busy through all of them. */
static inline void jit_hold(Jit *jit, unsigned reg) {
    jit->numbers.held |= 1u << reg;
    jit->numbers.busy |= 1u << reg;
}

static inline void jit_let_go(Jit *jit, unsigned reg) {
    jit->numbers.held &= ~(1u << reg);
    jit->numbers.busy &= ~(1u << reg);
}

/* Every value that is used later is in the frame after this. */
static void jit_spill_all(Jit *jit) {
    for (int conditions = 0; conditions <= jit->wide; conditions++) {
        JitFile *file = conditions ? &jit->masks : &jit->numbers;
        const uint32_t used = file->usable & ~(file->free | file->scratch);
        for (unsigned r = 0; r < 32; r++)
            if (used >> r & 1 && file->next[r] != JIT_NEVER) jit_spill(jit, file, r);
    }
}

/* No register holds anything. */
static void jit_forget_all(Jit *jit) {
    for (int conditions = 0; conditions <= jit->wide; conditions++) {
        JitFile *file = conditions ? &jit->masks : &jit->numbers;
        const uint32_t used = file->usable & ~(file->free | file->scratch);
        for (unsigned r = 0; r < 32; r++)
            if (used >> r & 1) jit->reg[file->value[r]] = JIT_NOWHERE;
        file->free = file->usable;
        file->busy = file->held = ~file->usable;
        file->scratch = 0;
    }
}

#endif
