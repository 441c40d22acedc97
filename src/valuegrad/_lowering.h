/* The code of each operation (_jit.h says what for).
 *
 * Where to start reading: VG_LOWERINGS, at the end; vg_lower_binary is the pattern that all others follow. */
#ifndef VALUEGRAD_LOWERING_H
#define VALUEGRAD_LOWERING_H

#include "_elementary.h"
#include "_function.h"

/* How an operation is lowered: a function, and what it needs to know. */
typedef struct VgLowering {
    void (*lower)(VgJit *jit, int32_t i, const struct VgLowering *how);
    uint8_t instruction;
    uint8_t detail; /* commutes; an immediate; a constant's offset in the pool: the function knows */
    uint8_t turned; /* a comparison's immediate when its operands change places */
} VgLowering;

/* Two operands, the first one in a register. */
typedef struct VgPair {
    unsigned first;
    VgPlace second;
} VgPair;

/* The operands at positions p and p + 1.  `turned`, where they may change places: says whether they did. */
static inline VgPair vg_pair(VgJit *jit, int32_t p, int *turned) {
    int32_t a = jit->value[p], b = jit->value[p + 1];
    VgPair pair;
    vg_advance(jit, p, p + 2);
    if (turned != NULL) {
        *turned = jit->reg[a] == VG_NOWHERE && jit->reg[b] != VG_NOWHERE;
        if (*turned) a = jit->value[p + 1], b = jit->value[p];
    }
    pair.first = vg_in_register(jit, a);
    pair.second = vg_in_place(jit, b);
    return pair;
}

/* Result i = instruction(operands at p and p + 1). */
static inline unsigned vg_binary(VgJit *jit, int32_t i, VgInstruction instruction, int commutes, int32_t p) {
    int turned = 0;
    const VgPair pair = vg_pair(jit, p, commutes ? &turned : NULL);
    unsigned reg;
    vg_release(jit, p, p + 2);
    reg = vg_define(jit, i, pair.first);
    vg_emit(jit, instruction, reg, pair.first, pair.second, -1);
    vg_settle(jit);
    return reg;
}

static void vg_lower_binary(VgJit *jit, int32_t i, const VgLowering *how) {
    vg_binary(jit, i, (VgInstruction)how->instruction, how->detail, jit->segment->start[i]);
}

/* sqrt, and roundings with their immediate. */
static void vg_lower_unary(VgJit *jit, int32_t i, const VgLowering *how) {
    const int32_t p = jit->segment->start[i];
    VgPlace place;
    vg_advance(jit, p, p + 1);
    place = vg_in_place(jit, jit->value[p]);
    vg_release(jit, p, p + 1);
    vg_emit(jit, (VgInstruction)how->instruction, vg_define(jit, i, place.reg & 31), 0, place, how->detail ? how->detail : -1);
    vg_settle(jit);
}

/* neg, abs: the sign bit changed by a constant. */
static void vg_lower_sign(VgJit *jit, int32_t i, const VgLowering *how) {
    const int32_t p = jit->segment->start[i];
    unsigned number;
    vg_advance(jit, p, p + 1);
    number = vg_in_register(jit, jit->value[p]);
    vg_release(jit, p, p + 1);
    vg_emit(jit, (VgInstruction)how->instruction, vg_define(jit, i, number), number, vg_pool(how->detail), -1);
    vg_settle(jit);
}

static void vg_lower_comparison(VgJit *jit, int32_t i, const VgLowering *how) {
    const int32_t p = jit->segment->start[i];
    int turned;
    const VgPair pair = vg_pair(jit, p, &turned);
    vg_release(jit, p, p + 2);
    vg_emit(jit, X86_COMPARE, vg_define(jit, i, 0), pair.first, pair.second, turned ? how->turned : how->detail);
    vg_settle(jit);
}

/* and, or: `instruction` for mask registers, `detail` for masks in vectors. */
static void vg_lower_logic(VgJit *jit, int32_t i, const VgLowering *how) {
    const int32_t p = jit->segment->start[i];
    unsigned a, b, reg;
    vg_advance(jit, p, p + 2);
    a = vg_in_mask(jit, jit->value[p]);
    b = vg_in_mask(jit, jit->value[p + 1]);
    vg_release(jit, p, p + 2);
    reg = vg_define(jit, i, a);
    if (jit->wide)
        vg_emit_mask(jit, (VgInstruction)how->instruction, reg, a, vg_register(b));
    else
        vg_emit(jit, (VgInstruction)how->detail, reg, a, vg_register(b), -1);
    vg_settle(jit);
}

static void vg_lower_not(VgJit *jit, int32_t i, const VgLowering *how) {
    const int32_t p = jit->segment->start[i];
    unsigned a, reg;
    (void)how;
    vg_advance(jit, p, p + 1);
    a = vg_in_mask(jit, jit->value[p]);
    vg_release(jit, p, p + 1);
    reg = vg_define(jit, i, a);
    if (jit->wide)
        vg_emit_mask(jit, X86_KNOT, reg, 0, vg_register(a));
    else
        vg_emit(jit, X86_XOR, reg, a, vg_pool(VG_TRUE), -1);
    vg_settle(jit);
}

/* reg = place where `mask` holds, else `other`. */
static void vg_emit_choice(VgJit *jit, unsigned reg, unsigned mask, VgPlace place, unsigned other) {
    if (jit->wide)
        vg_evex(&jit->code, vg_form(jit, X86_BLEND), reg, other, place, mask, -1);
    else
        vg_emit(jit, X86_BLENDV, reg, other, place, (int)(mask << 4)); /* the fourth register: SDM, "is4" */
}

static void vg_lower_select(VgJit *jit, int32_t i, const VgLowering *how) {
    const int32_t p = jit->segment->start[i];
    unsigned mask, other;
    VgPlace place;
    (void)how;
    vg_advance(jit, p, p + 3);
    mask = vg_in_mask(jit, jit->value[p]);
    other = vg_in_register(jit, jit->value[p + 2]);
    place = vg_in_place(jit, jit->value[p + 1]);
    vg_release(jit, p, p + 3);
    vg_emit_choice(jit, vg_define(jit, i, other), mask, place, other);
    vg_settle(jit);
}

/* Result i = the operand at p; its register if it is free then. */
static unsigned vg_copy(VgJit *jit, int32_t i, int32_t p) {
    unsigned from, reg;
    vg_advance(jit, p, p + 1);
    from = vg_in_register(jit, jit->value[p]);
    vg_release(jit, p, p + 1);
    reg = vg_define(jit, i, from);
    if (reg != from) vg_emit(jit, X86_LOAD, reg, 0, vg_register(from), -1);
    vg_settle(jit);
    return reg;
}

static void vg_constant(VgJit *jit, int32_t i, int32_t pool) {
    vg_emit(jit, X86_SPREAD, vg_define(jit, i, 0), 0, vg_pool(pool), -1);
    vg_settle(jit);
}

/* sum, prod: in order.  No operands: `detail` is where the pool has the result. */
static void vg_lower_series(VgJit *jit, int32_t i, const VgLowering *how) {
    const int32_t p = jit->segment->start[i], end = jit->segment->start[i + 1];
    const VgInstruction instruction = (VgInstruction)how->instruction;
    unsigned total;
    if (end - p == 0) {
        vg_constant(jit, i, how->detail);
        return;
    }
    total = end - p == 1 ? vg_copy(jit, i, p) : vg_binary(jit, i, instruction, 1, p);
    vg_hold(jit, total);
    for (int32_t q = p + 2; q < end; q++) {
        vg_advance(jit, q, q + 1);
        vg_emit(jit, instruction, total, total, vg_in_place(jit, jit->value[q]), -1);
        vg_release(jit, q, q + 1);
        vg_settle(jit);
    }
    vg_let_go(jit, total);
}

/* dot: in order; a product joins the sum without a rounding of its own unless strict. */
static void vg_lower_dot(VgJit *jit, int32_t i, const VgLowering *how) {
    const int32_t p = jit->segment->start[i], end = jit->segment->start[i + 1];
    unsigned total;
    (void)how;
    if (end - p == 0) {
        vg_constant(jit, i, VG_ZERO);
        return;
    }
    total = vg_binary(jit, i, X86_MUL, 1, p);
    vg_hold(jit, total);
    for (int32_t q = p + 2; q < end; q += 2) {
        int turned;
        const VgPair pair = vg_pair(jit, q, &turned);
        if (jit->fma) {
            vg_emit(jit, X86_FMA, total, pair.first, pair.second, -1);
        } else {
            const unsigned product = vg_scratch(jit, &jit->numbers);
            vg_emit(jit, X86_MUL, product, pair.first, pair.second, -1);
            vg_emit(jit, X86_ADD, total, total, vg_register(product), -1);
        }
        vg_release(jit, q, q + 2);
        vg_settle(jit);
    }
    vg_let_go(jit, total);
}

/* maximum, minimum: in order, x where x > best, else best: that is what vmaxpd(x, best) gives, nan and zeros of both
 * signs included (SDM, MAXPD: "the second operand is returned"); but x where it is a nan. */
static void vg_lower_extreme(VgJit *jit, int32_t i, const VgLowering *how) {
    const int32_t p = jit->segment->start[i], end = jit->segment->start[i + 1];
    const unsigned best = vg_copy(jit, i, p);
    vg_hold(jit, best);
    for (int32_t q = p + 1; q < end; q++) {
        unsigned x, missing;
        vg_advance(jit, q, q + 1);
        x = vg_in_register(jit, jit->value[q]);
        missing = vg_scratch(jit, jit->wide ? &jit->masks : &jit->numbers);
        vg_emit(jit, X86_COMPARE, missing, x, vg_register(x), VG_UNORDERED);
        vg_emit(jit, (VgInstruction)how->instruction, best, x, vg_register(best), -1);
        vg_emit_choice(jit, best, missing, vg_register(x), best);
        vg_release(jit, q, q + 1);
        vg_settle(jit);
    }
    vg_let_go(jit, best);
}

/* --- What a segment does besides computing --- */

static void vg_lower_store(VgJit *jit, int32_t i, const VgLowering *how) {
    const int32_t p = jit->segment->start[i], value = jit->value[p], slot = (int32_t)jit->segment->number[i];
    unsigned reg;
    (void)how;
    vg_advance(jit, p, p + 1);
    reg = vg_in_register(jit, value);
    vg_emit(jit, X86_SAVE, reg, 0, vg_slot(slot), -1);
    if (jit->home[value] == VG_NOWHERE && !vg_is_condition(jit, value)) jit->home[value] = slot; /* no need to spill it */
    vg_release(jit, p, p + 1);
    vg_settle(jit);
}

static void vg_lower_store_uniform(VgJit *jit, int32_t i, const VgLowering *how) {
    const int32_t p = jit->segment->start[i];
    VgPlace place = vg_uniform(jit, (int32_t)jit->segment->number[i]);
    unsigned reg;
    (void)how;
    place.broadcast = 0;
    vg_advance(jit, p, p + 1);
    reg = vg_in_register(jit, jit->value[p]);
    if (jit->wide)
        vg_evex(&jit->code, vg_form(jit, X86_SAVE_ONE), reg, 0, place, 0, -1);
    else
        vg_vex(&jit->code, vg_form(jit, X86_SAVE_ONE), reg, 0, place, 0, -1);
    vg_release(jit, p, p + 1);
    vg_settle(jit);
}

static void vg_lower_reduce(VgJit *jit, int32_t i, const VgLowering *how) {
    const int32_t p = jit->segment->start[i];
    const VgPlace sum = vg_memory(VG_SUMS, (int32_t)jit->segment->number[i] * VG_BLOCK_BYTES);
    VgPlace place;
    unsigned old;
    (void)how;
    vg_advance(jit, p, p + 1);
    place = vg_in_place(jit, jit->value[p]);
    old = vg_scratch(jit, &jit->numbers);
    vg_emit(jit, X86_LOAD, old, 0, sum, -1);
    if (jit->wide) {
        vg_evex(&jit->code, vg_form(jit, X86_ADD), old, old, place, VG_VALID_MASK, -1);
    } else {
        const unsigned total = vg_scratch(jit, &jit->numbers), mask = vg_scratch(jit, &jit->numbers);
        vg_emit(jit, X86_ADD, total, old, place, -1);
        vg_emit(jit, X86_LOAD, mask, 0, vg_slot(jit->valid_slot), -1);
        vg_emit_choice(jit, old, mask, vg_register(total), old);
    }
    vg_emit(jit, X86_SAVE, old, 0, sum, -1);
    vg_release(jit, p, p + 1);
    vg_settle(jit);
}

/* A guard: the lanes' outcomes as bits in eax; the rest, if they are not all as expected, is elsewhere. */
static void vg_lower_guard(VgJit *jit, int32_t i, const VgLowering *how) {
    const int32_t p = jit->segment->start[i];
    const uint32_t number = (uint32_t)jit->segment->number[i];
    unsigned mask;
    (void)how;
    vg_advance(jit, p, p + 1);
    mask = vg_in_mask(jit, jit->value[p]);
    if (jit->wide)
        vg_emit_mask(jit, X86_KGET, X86_RAX, 0, vg_register(mask));
    else
        vg_emit(jit, X86_SIGNS, X86_RAX, 0, vg_register(mask), -1);
    vg_release(jit, p, p + 1);
    vg_settle(jit);
    vg_leave_if_failing(jit, number);
}

/* --- Calls --- */

/* The slot where the operand at p lies as numbers. */
static VgPlace vg_argument(VgJit *jit, int32_t p) {
    const int32_t value = jit->value[p];
    int32_t slot;
    if (!vg_is_uniform(jit, value) && !vg_is_condition(jit, value)) {
        if (jit->home[value] == VG_NOWHERE) vg_spill(jit, &jit->numbers, (unsigned)jit->reg[value]);
        return vg_home(jit, value);
    }
    slot = vg_take_slot(jit);
    vg_leave_slot(jit, slot);
    vg_emit(jit, X86_SAVE, vg_in_register(jit, value), 0, vg_slot(slot), -1);
    return vg_slot(slot);
}

/* An elementary function: function(a, b, out, number). */
static void vg_lower_call(VgJit *jit, int32_t i, const VgLowering *how) {
    const int32_t p = jit->segment->start[i], n = jit->segment->start[i + 1] - p;
    const VgVectorFunction function = vg_vector_function(jit->segment->op[i], jit->float32, jit->strict);
    VgPlace place[2];
    (void)how;
    vg_advance(jit, p, p + n);
    for (int32_t k = 0; k < n; k++) place[k] = vg_argument(jit, p + k);
    vg_spill_all(jit);
    jit->home[i] = vg_take_slot(jit);
    vg_release(jit, p, p + n);
    vg_forget_all(jit);
    vg_end_stretch(jit);
    X86_PLAIN(&jit->code, "\xC5\xF8\x77"); /* vzeroupper: the function may be SSE code */
    for (int32_t k = 0; k < n; k++) vg_address(jit, k == 0 ? X86_RDI : X86_RSI, place[k]);
    vg_address(jit, X86_RDX, vg_home(jit, i));
    vg_constant_word(jit, &jit->segment->number[i]);
    X86_PLAIN(&jit->code, "\xC4\xE1\xF9\x6E\xC0"); /* vmovq xmm0, rax */
    vg_constant_word(jit, &function);
    X86_PLAIN(&jit->code, "\xFF\xD0"); /* call rax */
    vg_begin_stretch(jit);
    vg_settle(jit);
}

/* round to an integer is an instruction; to decimal digits a call. */
static void vg_lower_round(VgJit *jit, int32_t i, const VgLowering *how) {
    if (jit->segment->number[i] == 0.0)
        vg_lower_unary(jit, i, how);
    else
        vg_lower_call(jit, i, how);
}

/* Roundings: 8: raise no exceptions; 0 to even, 1 down, 2 up, 3 to zero (SDM, table 4-20 at ROUNDPD). */
static const VgLowering VG_LOWERINGS[VG_GUARD + 1] = {
    [VG_OP_add] = {vg_lower_binary, X86_ADD, 1},
    [VG_OP_sub] = {vg_lower_binary, X86_SUB, 0},
    [VG_OP_mul] = {vg_lower_binary, X86_MUL, 1},
    [VG_OP_div] = {vg_lower_binary, X86_DIV, 0},
    [VG_OP_sqrt] = {vg_lower_unary, X86_SQRT, 0},
    [VG_OP_floor] = {vg_lower_unary, X86_ROUND, 9},
    [VG_OP_ceil] = {vg_lower_unary, X86_ROUND, 10},
    [VG_OP_trunc] = {vg_lower_unary, X86_ROUND, 11},
    [VG_OP_round] = {vg_lower_round, X86_ROUND, 8},
    [VG_OP_neg] = {vg_lower_sign, X86_XOR, VG_SIGN},
    [VG_OP_abs] = {vg_lower_sign, X86_AND, VG_MAGNITUDE},
    [VG_OP_lt] = {vg_lower_comparison, X86_COMPARE, VG_LESS, VG_MORE},
    [VG_OP_le] = {vg_lower_comparison, X86_COMPARE, VG_AT_MOST, VG_AT_LEAST},
    [VG_OP_eq] = {vg_lower_comparison, X86_COMPARE, VG_EQUAL, VG_EQUAL},
    [VG_OP_and] = {vg_lower_logic, X86_KAND, X86_AND},
    [VG_OP_or] = {vg_lower_logic, X86_KOR, X86_OR},
    [VG_OP_not] = {vg_lower_not},
    [VG_OP_select] = {vg_lower_select},
    [VG_OP_sum] = {vg_lower_series, X86_ADD, VG_ZERO},
    [VG_OP_prod] = {vg_lower_series, X86_MUL, VG_ONE},
    [VG_OP_dot] = {vg_lower_dot},
    [VG_OP_maximum] = {vg_lower_extreme, X86_MAX},
    [VG_OP_minimum] = {vg_lower_extreme, X86_MIN},
    [VG_STORE] = {vg_lower_store},
    [VG_STORE_UNIFORM] = {vg_lower_store_uniform},
    [VG_REDUCE] = {vg_lower_reduce},
    [VG_GUARD] = {vg_lower_guard},
};

/* Is there code, or a function to call, for every operation? */
static int vg_can_lower(const VgJit *jit) {
    const VgSegment *segment = jit->segment;
    for (int32_t i = 0; i < segment->count; i++) {
        const int op = segment->op[i], n = segment->start[i + 1] - segment->start[i];
        if (VG_LOWERINGS[op].lower == NULL || (op == VG_OP_round && segment->number[i] != 0.0)) {
            if (n < 1 || n > 2 || vg_vector_function(op, jit->float32, jit->strict) == NULL) return 0;
        } else if (n == 0 && (op == VG_OP_maximum || op == VG_OP_minimum)) {
            return 0;
        }
    }
    return 1;
}

static void vg_lower_segment(VgJit *jit) {
    const VgSegment *segment = jit->segment;
    jit->valid_slot = VG_NOWHERE;
    for (int32_t i = 0; i < segment->count && jit->valid_slot == VG_NOWHERE; i++)
        if (segment->op[i] == VG_REDUCE) jit->valid_slot = vg_take_slot(jit);
    vg_write_pool(jit);
    vg_begin_function(jit);
    for (int32_t i = 0; i < segment->count; i++) {
        const VgLowering *how = &VG_LOWERINGS[segment->op[i]];
        if (segment->op[i] >= VG_OP_count || jit->upcoming[i] != VG_NEVER) {
            (how->lower == NULL ? vg_lower_call : how->lower)(jit, i, how);
            continue;
        }
        for (int32_t p = segment->start[i]; p < segment->start[i + 1]; p++) { /* nobody uses the result */
            vg_advance(jit, p, p + 1);
            vg_release(jit, p, p + 1);
            vg_settle(jit);
        }
    }
    vg_end_function(jit);
}

#endif
