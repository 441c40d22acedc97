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
 *   VgFile     a kind of register: vectors of numbers; and conditions.  AVX-512 keeps these in mask registers k0 to k7,
 *              AVX2 as vectors of all ones or all zeros, in the same registers as numbers.
 *   slots      of the frame: from `segment->slots` on for values that gave way; reused after their last use.
 *
 * An instruction's life: vg_advance (its operands' uses are now past; what is in a register stays there), then
 * vg_in_register, vg_in_place or vg_in_mask for each operand, vg_release (the last use frees a register), vg_define
 * (a register for the result), the code, vg_settle (the last use frees a slot).
 *
 * Where to start reading: VgJit, then vg_allocate. */
#ifndef VALUEGRAD_REGISTERS_H
#define VALUEGRAD_REGISTERS_H

#include "_machine.h"
#include "_x86.h"

enum { VG_NEVER = INT32_MAX, VG_NOWHERE = -1 };

/* Base registers, kept by every function that we call (System V ABI).  The frame's points 128 slots into it and the
 * uniforms' 128 numbers, so that twice as many displacements fit into a byte. */
enum { VG_FRAME = X86_RBX, VG_UNIFORM = X86_RBP, VG_SUMS = X86_R13, VG_FAILED = X86_R14, VG_VALID = X86_R15, VG_BIAS = 128 };

/* Constants before the code, by their offset: each 32 bytes of equal numbers, which AVX2 reads as they are; AVX-512
 * broadcasts the first.  Then each lane's bit in `valid_bits`, for AVX2. */
enum { VG_ZERO = 0, VG_ONE = 32, VG_SIGN = 64, VG_MAGNITUDE = 96, VG_TRUE = 128, VG_LANES = 160, VG_POOL_BYTES = 256 };

typedef struct VgFile {
    int32_t value[32], next[32]; /* of a register in use: the value in it, and its next use */
    uint32_t usable;             /* sets of registers, as bits: those that there are */
    uint32_t free;               /* in no use */
    uint32_t busy;               /* an operand or result of the instruction at hand, or not usable: must not give way */
    uint32_t held;               /* stays busy through all steps of the instruction at hand */
    uint32_t scratch;            /* holds no value, and is free after the step at hand */
} VgFile;

typedef struct VgJit {
    VgBytes code;
    const VgSegment *segment;
    int float32, strict, wide, fma; /* wide: AVX-512; else AVX2 */
    int32_t *value, *next;          /* by position */
    int32_t *upcoming;              /* by value: the position of its next use, or VG_NEVER */
    int32_t *home;                  /* by value: its slot in the frame, or VG_NOWHERE; of a uniform: its index */
    int8_t *reg;                    /* by value: its register, or VG_NOWHERE */
    VgFile numbers, masks;
    int32_t *spare;                 /* slots in no use: a stack */
    int32_t spares, spare_capacity, slots;
    int32_t leaving[8];             /* slots whose values were used for the last time by the step at hand */
    int leavings;
    struct VgFailing *guards;       /* _function.h */
    int32_t guard_count, guard_capacity;
    int32_t valid_slot;             /* AVX2: where the valid lanes are as a mask; VG_NOWHERE if nobody asks */
    size_t stretch, stretch_start;  /* AVX2: where the code that runs once a half begins; its first byte */
    int failed;                     /* no memory */
} VgJit;

static inline int vg_is_condition(const VgJit *jit, int32_t value) {
    return value < jit->segment->count && jit->segment->op[value] >= VG_OP_lt && jit->segment->op[value] <= VG_OP_not;
}

static inline int vg_is_uniform(const VgJit *jit, int32_t value) {
    return (uint32_t)(value - jit->segment->count) < (uint32_t)jit->segment->uniforms;
}

static inline VgFile *vg_file(VgJit *jit, int32_t value) {
    return jit->wide && vg_is_condition(jit, value) ? &jit->masks : &jit->numbers;
}

static inline const VgForm *vg_form(const VgJit *jit, VgInstruction instruction) {
    return &X86_FORMS[instruction][jit->float32];
}

/* reg = instruction(second, place); `immediate` is -1 where there is none. */
static inline void vg_emit(VgJit *jit, VgInstruction instruction, unsigned reg, unsigned second, VgPlace place,
                           int immediate) {
    if (jit->wide)
        vg_evex(&jit->code, vg_form(jit, instruction), reg, second, place, 0, immediate);
    else
        vg_vex(&jit->code, vg_form(jit, instruction), reg, second, place, 1, immediate);
}

/* The same for mask registers. */
static inline void vg_emit_mask(VgJit *jit, VgInstruction instruction, unsigned reg, unsigned second, VgPlace place) {
    const unsigned wide = instruction == X86_KAND || instruction == X86_KOR; /* VEX.L1 of the three-operand ones */
    vg_vex(&jit->code, vg_form(jit, instruction), reg, second, place, wide, -1);
}

static inline VgPlace vg_slot(int32_t slot) { return vg_memory(VG_FRAME, (slot - VG_BIAS) * VG_BLOCK_BYTES); }

static inline VgPlace vg_uniform(const VgJit *jit, int32_t index) {
    VgPlace place = vg_memory(VG_UNIFORM, (index - VG_BIAS) * (jit->float32 ? 4 : 8));
    place.broadcast = 1;
    return place;
}

/* Where a value is that is in no register. */
static inline VgPlace vg_home(const VgJit *jit, int32_t value) {
    return vg_is_uniform(jit, value) ? vg_uniform(jit, jit->home[value]) : vg_slot(jit->home[value]);
}

static int32_t vg_take_slot(VgJit *jit) { return jit->spares ? jit->spare[--jit->spares] : jit->slots++; }

/* A slot is free once the instruction at hand has read it. */
static inline void vg_leave_slot(VgJit *jit, int32_t slot) { jit->leaving[jit->leavings++] = slot; }

/* Copy a register that has no home yet to the frame. */
static void vg_spill(VgJit *jit, VgFile *file, unsigned reg) {
    const int32_t value = file->value[reg];
    if (jit->home[value] != VG_NOWHERE) return;
    jit->home[value] = vg_take_slot(jit);
    if (file == &jit->masks)
        vg_emit_mask(jit, X86_KSAVE, reg, 0, vg_home(jit, value));
    else
        vg_emit(jit, X86_SAVE, reg, 0, vg_home(jit, value), -1);
}

/* A busy register: a free one, or that of the value which is used farthest ahead. */
static unsigned vg_allocate(VgJit *jit, VgFile *file, unsigned preferred) {
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
        vg_spill(jit, file, reg);
        jit->reg[file->value[reg]] = VG_NOWHERE;
    }
    file->free &= ~(1u << reg);
    file->busy |= 1u << reg;
    return reg;
}

/* A busy register for the step at hand, for no value. */
static unsigned vg_scratch(VgJit *jit, VgFile *file) {
    const unsigned reg = vg_allocate(jit, file, 0);
    file->scratch |= 1u << reg;
    return reg;
}

/* The uses at positions `from` to `to` are now past. */
static inline void vg_advance(VgJit *jit, int32_t from, int32_t to) {
    for (int32_t p = from; p < to; p++) {
        const int32_t value = jit->value[p];
        jit->upcoming[value] = jit->next[p];
        if (jit->reg[value] != VG_NOWHERE) {
            VgFile *file = vg_file(jit, value);
            file->next[jit->reg[value]] = jit->next[p];
            file->busy |= 1u << jit->reg[value];
        }
    }
}

/* A busy register for `value`. */
static inline unsigned vg_bind(VgJit *jit, VgFile *file, int32_t value, unsigned preferred) {
    const unsigned reg = vg_allocate(jit, file, preferred);
    file->value[reg] = value;
    file->next[reg] = jit->upcoming[value];
    jit->reg[value] = (int8_t)reg;
    return reg;
}

/* The value's register; it is loaded where it is in memory. */
static unsigned vg_own_register(VgJit *jit, int32_t value) {
    VgFile *file = vg_file(jit, value);
    unsigned reg;
    if (jit->reg[value] != VG_NOWHERE) return (unsigned)jit->reg[value];
    reg = vg_bind(jit, file, value, 0);
    if (file == &jit->masks)
        vg_emit_mask(jit, X86_KLOAD, reg, 0, vg_home(jit, value));
    else
        vg_emit(jit, vg_is_uniform(jit, value) ? X86_SPREAD : X86_LOAD, reg, 0, vg_home(jit, value), -1);
    return reg;
}

/* A register with the value as numbers. */
static unsigned vg_in_register(VgJit *jit, int32_t value) {
    unsigned mask, reg;
    if (!vg_is_condition(jit, value)) return vg_own_register(jit, value);
    mask = vg_own_register(jit, value);
    reg = vg_scratch(jit, &jit->numbers);
    if (jit->wide) {
        vg_evex(&jit->code, vg_form(jit, X86_SPREAD), reg, 0, vg_pool(VG_ONE), X86_ZEROING | mask, -1);
    } else {
        vg_emit(jit, X86_AND, reg, mask, vg_pool(VG_ONE), -1);
    }
    return reg;
}

/* A register, or memory that an instruction can read as it is, with the value as numbers. */
static inline VgPlace vg_in_place(VgJit *jit, int32_t value) {
    if (jit->reg[value] == VG_NOWHERE && !vg_is_condition(jit, value) && (jit->wide || !vg_is_uniform(jit, value)))
        return vg_home(jit, value);
    return vg_register(vg_in_register(jit, value));
}

enum { VG_UNEQUAL = 4, VG_UNORDERED = 3, VG_EQUAL = 0, VG_LESS = 0x11, VG_AT_MOST = 0x12, VG_AT_LEAST = 0x1D, VG_MORE = 0x1E };

/* A register with the value as a condition: a mask register, or all ones and all zeros. */
static unsigned vg_in_mask(VgJit *jit, int32_t value) {
    unsigned reg = vg_own_register(jit, value), number = reg;
    if (vg_is_condition(jit, value)) return reg;
    reg = vg_scratch(jit, jit->wide ? &jit->masks : &jit->numbers);
    vg_emit(jit, X86_COMPARE, reg, number, vg_pool(VG_ZERO), VG_UNEQUAL);
    return reg;
}

/* The operands at positions `from` to `to` are read: what was used for the last time, and scratch registers, are free. */
static inline void vg_release(VgJit *jit, int32_t from, int32_t to) {
    for (int32_t p = from; p < to; p++) {
        const int32_t value = jit->value[p];
        if (jit->upcoming[value] != VG_NEVER) continue;
        if (jit->reg[value] != VG_NOWHERE) {
            vg_file(jit, value)->free |= 1u << jit->reg[value];
            jit->reg[value] = VG_NOWHERE;
        }
        if (value < jit->segment->count && jit->home[value] >= jit->segment->slots) {
            vg_leave_slot(jit, jit->home[value]);
            jit->home[value] = VG_NOWHERE;
        }
    }
    jit->numbers.free |= jit->numbers.scratch;
    jit->masks.free |= jit->masks.scratch;
    jit->numbers.scratch = jit->masks.scratch = 0;
    jit->numbers.busy = jit->numbers.held;
    jit->masks.busy = jit->masks.held;
}

/* After the code of a step. */
static inline void vg_settle(VgJit *jit) {
    while (jit->leavings) {
        if (jit->spares == jit->spare_capacity) {
            const int32_t capacity = 2 * jit->spare_capacity + 64;
            int32_t *spare = (int32_t *)realloc(jit->spare, (size_t)capacity * sizeof(int32_t));
            if (spare == NULL) {
                jit->failed = 1;
                jit->leavings = 0;
                return;
            }
            jit->spare = spare;
            jit->spare_capacity = capacity;
        }
        jit->spare[jit->spares++] = jit->leaving[--jit->leavings];
    }
    jit->numbers.busy = jit->numbers.held;
    jit->masks.busy = jit->masks.held;
}

/* A busy register for the result of instruction `value`. */
static inline unsigned vg_define(VgJit *jit, int32_t value, unsigned preferred) {
    return vg_bind(jit, vg_file(jit, value), value, preferred);
}

/* A result that takes many steps: its register is busy through all of them. */
static inline void vg_hold(VgJit *jit, unsigned reg) {
    jit->numbers.held |= 1u << reg;
    jit->numbers.busy |= 1u << reg;
}

static inline void vg_let_go(VgJit *jit, unsigned reg) {
    jit->numbers.held &= ~(1u << reg);
    jit->numbers.busy &= ~(1u << reg);
}

/* Every value that is used later is in the frame after this. */
static void vg_spill_all(VgJit *jit) {
    for (int conditions = 0; conditions <= jit->wide; conditions++) {
        VgFile *file = conditions ? &jit->masks : &jit->numbers;
        const uint32_t used = file->usable & ~(file->free | file->scratch);
        for (unsigned r = 0; r < 32; r++)
            if (used >> r & 1 && file->next[r] != VG_NEVER) vg_spill(jit, file, r);
    }
}

/* No register holds anything. */
static void vg_forget_all(VgJit *jit) {
    for (int conditions = 0; conditions <= jit->wide; conditions++) {
        VgFile *file = conditions ? &jit->masks : &jit->numbers;
        const uint32_t used = file->usable & ~(file->free | file->scratch);
        for (unsigned r = 0; r < 32; r++)
            if (used >> r & 1) jit->reg[file->value[r]] = VG_NOWHERE;
        file->free = file->usable;
        file->busy = file->held = ~file->usable;
        file->scratch = 0;
    }
}

#endif
