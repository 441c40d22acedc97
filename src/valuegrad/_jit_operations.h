/* The code of each operation (_jit.h says what for).
 *
 * Where to start reading: JIT_LOWERINGS, at the end; jit_lower_binary is the pattern that all others follow. */
#ifndef VALUEGRAD_JIT_OPERATIONS_H
#define VALUEGRAD_JIT_OPERATIONS_H

#include "_jit_calls.h"

/* Two operands, the first one in a register. */
typedef struct JitPair {
    unsigned first;
    X86Place second;
} JitPair;

/* The operands at positions p and p + 1.  `turned`, where they may change places: says whether they did. */
static inline JitPair jit_pair(Jit *jit, int32_t p, int *turned) {
    int32_t a = jit->value[p], b = jit->value[p + 1];
    JitPair pair;
    jit_advance(jit, p, p + 2);
    if (turned != NULL) {
        *turned = jit->reg[a] == JIT_NOWHERE && jit->reg[b] != JIT_NOWHERE;
        if (*turned) a = jit->value[p + 1], b = jit->value[p];
    }
    pair.first = jit_in_register(jit, a);
    pair.second = jit_in_place(jit, b);
    return pair;
}

/* Result i = instruction(operands at p and p + 1). */
static inline unsigned jit_binary(Jit *jit, int32_t i, X86Instruction instruction, int commutes, int32_t p) {
    int turned = 0;
    const JitPair pair = jit_pair(jit, p, commutes ? &turned : NULL);
    unsigned reg;
    jit_release(jit, p, p + 2);
    reg = jit_define(jit, i, pair.first);
    jit_emit(jit, instruction, reg, pair.first, pair.second, -1);
    jit_settle(jit);
    return reg;
}

static void jit_lower_binary(Jit *jit, int32_t i, const JitLowering *how) {
    jit_binary(jit, i, (X86Instruction)how->instruction, how->detail, jit->segment->start[i]);
}

/* sqrt, and roundings with their immediate. */
static void jit_lower_unary(Jit *jit, int32_t i, const JitLowering *how) {
    const int32_t p = jit->segment->start[i];
    const int immediate = how->detail ? how->detail : -1;
    X86Place place;
    jit_advance(jit, p, p + 1);
    place = jit_in_place(jit, jit->value[p]);
    jit_release(jit, p, p + 1);
    jit_emit(jit, (X86Instruction)how->instruction, jit_define(jit, i, 0), X86_NONE, place, immediate);
    jit_settle(jit);
}

/* neg, abs: the sign bit changed by a constant. */
static void jit_lower_sign(Jit *jit, int32_t i, const JitLowering *how) {
    const int32_t p = jit->segment->start[i];
    unsigned number;
    jit_advance(jit, p, p + 1);
    number = jit_in_register(jit, jit->value[p]);
    jit_release(jit, p, p + 1);
    jit_emit(jit, (X86Instruction)how->instruction, jit_define(jit, i, number), number, x86_pool(how->detail), -1);
    jit_settle(jit);
}

static void jit_lower_comparison(Jit *jit, int32_t i, const JitLowering *how) {
    const int32_t p = jit->segment->start[i];
    int turned;
    const JitPair pair = jit_pair(jit, p, &turned);
    jit_release(jit, p, p + 2);
    jit_emit(jit, X86_COMPARE, jit_define(jit, i, 0), pair.first, pair.second, turned ? how->turned : how->detail);
    jit_settle(jit);
}

/* and, or: `instruction` for mask registers, `detail` for masks in vectors. */
static void jit_lower_logic(Jit *jit, int32_t i, const JitLowering *how) {
    const int32_t p = jit->segment->start[i];
    unsigned a, b, reg;
    jit_advance(jit, p, p + 2);
    a = jit_in_mask(jit, jit->value[p]);
    b = jit_in_mask(jit, jit->value[p + 1]);
    jit_release(jit, p, p + 2);
    reg = jit_define(jit, i, a);
    if (jit->wide)
        jit_emit_mask(jit, (X86Instruction)how->instruction, reg, a, x86_register(b));
    else
        jit_emit(jit, (X86Instruction)how->detail, reg, a, x86_register(b), -1);
    jit_settle(jit);
}

static void jit_lower_not(Jit *jit, int32_t i, const JitLowering *how) {
    const int32_t p = jit->segment->start[i];
    unsigned a, reg;
    (void)how;
    jit_advance(jit, p, p + 1);
    a = jit_in_mask(jit, jit->value[p]);
    jit_release(jit, p, p + 1);
    reg = jit_define(jit, i, a);
    if (jit->wide)
        jit_emit_mask(jit, X86_KNOT, reg, X86_NONE, x86_register(a));
    else
        jit_emit(jit, X86_XOR, reg, a, x86_pool(JIT_TRUE), -1);
    jit_settle(jit);
}

/* reg = place where `mask` holds, else `other`. */
static void jit_emit_choice(Jit *jit, unsigned reg, unsigned mask, X86Place place, unsigned other) {
    if (jit->wide)
        jit_emit_masked(jit, X86_BLEND, reg, other, place, mask, -1);
    else
        jit_emit(jit, X86_BLENDV, reg, other, place, (int)(mask << 4)); /* the fourth register: SDM, "is4" */
}

static void jit_lower_select(Jit *jit, int32_t i, const JitLowering *how) {
    const int32_t p = jit->segment->start[i];
    unsigned mask, other;
    X86Place place;
    (void)how;
    jit_advance(jit, p, p + 3);
    mask = jit_in_mask(jit, jit->value[p]);
    other = jit_in_register(jit, jit->value[p + 2]);
    place = jit_in_place(jit, jit->value[p + 1]);
    jit_release(jit, p, p + 3);
    jit_emit_choice(jit, jit_define(jit, i, other), mask, place, other);
    jit_settle(jit);
}

/* Result i = the operand at p; its register if it is free then. */
static unsigned jit_copy(Jit *jit, int32_t i, int32_t p) {
    unsigned from, reg;
    jit_advance(jit, p, p + 1);
    from = jit_in_register(jit, jit->value[p]);
    jit_release(jit, p, p + 1);
    reg = jit_define(jit, i, from);
    if (reg != from) jit_emit(jit, X86_LOAD, reg, X86_NONE, x86_register(from), -1);
    jit_settle(jit);
    return reg;
}

static void jit_constant(Jit *jit, int32_t i, int32_t pool) {
    jit_emit(jit, X86_SPREAD, jit_define(jit, i, 0), X86_NONE, x86_pool(pool), -1);
    jit_settle(jit);
}

/* sum, prod: in order.  No operands: `detail` is where the pool has the result. */
static void jit_lower_series(Jit *jit, int32_t i, const JitLowering *how) {
    const int32_t p = jit->segment->start[i], end = jit->segment->start[i + 1];
    const X86Instruction instruction = (X86Instruction)how->instruction;
    unsigned total;
    if (end - p == 0) {
        jit_constant(jit, i, how->detail);
        return;
    }
    total = end - p == 1 ? jit_copy(jit, i, p) : jit_binary(jit, i, instruction, 1, p);
    jit_hold(jit, total);
    for (int32_t q = p + 2; q < end; q++) {
        jit_advance(jit, q, q + 1);
        jit_emit(jit, instruction, total, total, jit_in_place(jit, jit->value[q]), -1);
        jit_release(jit, q, q + 1);
        jit_settle(jit);
    }
    jit_let_go(jit, total);
}

/* total += the product of the operands at p and p + 1; without a rounding of its own unless strict. */
static void jit_add_product(Jit *jit, unsigned total, int32_t p) {
    int turned;
    const JitPair pair = jit_pair(jit, p, &turned);
    if (!jit->strict) {
        jit_emit(jit, X86_FMA, total, pair.first, pair.second, -1);
    } else {
        const unsigned product = jit_scratch(jit, &jit->numbers);
        jit_emit(jit, X86_MUL, product, pair.first, pair.second, -1);
        jit_emit(jit, X86_ADD, total, total, x86_register(product), -1);
    }
    jit_release(jit, p, p + 2);
    jit_settle(jit);
}

/* A row of dots that share a list (_tiles.h). */
enum { JIT_LONGEST_TILE = 16 };
typedef struct JitTile {
    int32_t dots, pairs;
    int8_t half[JIT_LONGEST_TILE]; /* of each dot: which of its lists is the shared one */
} JitTile;

/* How many sums fit into registers beside what else is needed. */
static int32_t jit_most_in_tile(const Jit *jit) { return !jit->wide ? 3 : jit->parts == 2 ? 6 : JIT_LONGEST_TILE; }

/* Do instructions from i on make up a row?  It begins with the longest that there is for either list of dot i. */
static int jit_find_tile(const Jit *jit, int32_t i, JitTile *tile) {
    const VgSegment *segment = jit->segment;
    const int32_t n = segment->start[i + 1] - segment->start[i], most = jit_most_in_tile(jit);
    tile->pairs = n / 2;
    tile->dots = 1;
    if (tile->pairs < 2) return 0;
    for (int first = 0; first < 2 && tile->dots == 1; first++) {
        const int32_t *shared = segment->operand + segment->start[i] + (first ? tile->pairs : 0);
        const size_t bytes = (size_t)tile->pairs * sizeof *shared;
        tile->half[0] = (int8_t)first;
        for (int32_t next = i + 1; tile->dots < most && next < segment->count; next++) {
            const int32_t *list = segment->operand + segment->start[next];
            int half = -1, inside = 0;
            if (segment->op[next] != VG_OP_dot || segment->start[next + 1] - segment->start[next] != n) break;
            for (int h = 1; h >= 0; h--)
                if (memcmp(list + (h ? tile->pairs : 0), shared, bytes) == 0) half = h;
            for (int32_t k = 0; k < n; k++) inside |= list[k] >= i;
            if (half < 0 || inside) break;
            tile->half[tile->dots++] = (int8_t)half;
        }
    }
    return tile->dots > 1;
}

/* The dots of a row side by side: a sum for each in a register, and each shared number in one for all of them. */
static void jit_lower_tile(Jit *jit, int32_t i, const JitTile *tile) {
    unsigned total[JIT_LONGEST_TILE];
    int32_t p = jit->segment->start[i];
    for (int32_t m = 0; m < tile->dots; m++, p += 2) {
        total[m] = jit_binary(jit, i + m, X86_MUL, 1, p);
        jit_hold(jit, total[m]);
    }
    for (int32_t k = 1; k < tile->pairs; k++)
        for (int32_t m = 0; m < tile->dots; m++, p += 2) jit_add_product(jit, total[m], p);
    for (int32_t m = 0; m < tile->dots; m++) jit_let_go(jit, total[m]);
}

/* dot: in order. */
static void jit_lower_dot(Jit *jit, int32_t i, const JitLowering *how) {
    const int32_t p = jit->segment->start[i], end = jit->segment->start[i + 1];
    unsigned total;
    (void)how;
    if (end - p == 0) {
        jit_constant(jit, i, JIT_ZERO);
        return;
    }
    total = jit_binary(jit, i, X86_MUL, 1, p);
    jit_hold(jit, total);
    for (int32_t q = p + 2; q < end; q += 2) jit_add_product(jit, total, q);
    jit_let_go(jit, total);
}

/* maximum, minimum: in order, x where x > best, else best: that is what vmaxpd(x, best) gives, nan and zeros of both
 * signs included (SDM, MAXPD: "the second operand is returned"); but x where it is a nan. */
static void jit_lower_extreme(Jit *jit, int32_t i, const JitLowering *how) {
    const int32_t p = jit->segment->start[i], end = jit->segment->start[i + 1];
    const unsigned best = jit_copy(jit, i, p);
    jit_hold(jit, best);
    for (int32_t q = p + 1; q < end; q++) {
        unsigned x, missing;
        jit_advance(jit, q, q + 1);
        x = jit_in_register(jit, jit->value[q]);
        missing = jit_scratch(jit, jit->wide ? &jit->masks : &jit->numbers);
        jit_emit(jit, X86_COMPARE, missing, x, x86_register(x), JIT_UNORDERED);
        jit_emit(jit, (X86Instruction)how->instruction, best, x, x86_register(best), -1);
        jit_emit_choice(jit, best, missing, x86_register(x), best);
        jit_release(jit, q, q + 1);
        jit_settle(jit);
    }
    jit_let_go(jit, best);
}

/* --- What a segment does besides computing --- */

static void jit_lower_store(Jit *jit, int32_t i, const JitLowering *how) {
    const int32_t p = jit->segment->start[i], value = jit->value[p], slot = (int32_t)jit->segment->number[i];
    unsigned reg;
    (void)how;
    jit_advance(jit, p, p + 1);
    reg = jit_in_register(jit, value);
    jit_emit(jit, X86_SAVE, reg, X86_NONE, jit_slot(jit, slot), -1);
    if (jit->home[value] == JIT_NOWHERE && !jit_is_condition(jit, value)) jit->home[value] = slot; /* never spilled */
    jit_release(jit, p, p + 1);
    jit_settle(jit);
}

static void jit_lower_store_uniform(Jit *jit, int32_t i, const JitLowering *how) {
    const int32_t p = jit->segment->start[i];
    X86Place place = jit_uniform(jit, (int32_t)jit->segment->number[i]);
    unsigned reg;
    (void)how;
    place.broadcast = 0;
    jit_advance(jit, p, p + 1);
    reg = jit_in_register(jit, jit->value[p]);
    if (jit->wide)
        x86_evex(&jit->code, jit_form(jit, X86_SAVE_ONE), reg, X86_NONE, place, 0, -1);
    else
        x86_vex(&jit->code, jit_form(jit, X86_SAVE_ONE), reg, X86_NONE, place, 0, -1);
    jit_release(jit, p, p + 1);
    jit_settle(jit);
}

static void jit_lower_reduce(Jit *jit, int32_t i, const JitLowering *how) {
    const int32_t p = jit->segment->start[i];
    X86Place sum = x86_memory(JIT_SUMS, (int32_t)jit->segment->number[i] * VG_BLOCK_BYTES), place;
    unsigned old;
    (void)how;
    jit_advance(jit, p, p + 1);
    place = jit_in_place(jit, jit->value[p]);
    old = jit_scratch(jit, &jit->numbers);
    if (jit->wide) { /* the second block's numbers join the same sum, after the first one's */
        x86_evex(&jit->code, jit_form(jit, X86_LOAD), old, X86_NONE, sum, 0, -1);
        for (int part = 0; part < jit->parts; part++) {
            jit_load_valid(jit, part);
            x86_evex(&jit->code, jit_form(jit, X86_ADD), old, old, place, JIT_VALID_MASK, -1);
            place = jit_partner(place, jit->numbers.apart);
        }
        x86_evex(&jit->code, jit_form(jit, X86_SAVE), old, X86_NONE, sum, 0, -1);
    } else {
        const unsigned total = jit_scratch(jit, &jit->numbers), mask = jit_scratch(jit, &jit->numbers);
        sum.step = VG_BLOCK_BYTES / 2;
        jit_emit(jit, X86_LOAD, old, X86_NONE, sum, -1);
        jit_emit(jit, X86_ADD, total, old, place, -1);
        jit_emit(jit, X86_LOAD, mask, X86_NONE, jit_slot(jit, jit->valid_slot), -1);
        jit_emit_choice(jit, old, mask, x86_register(total), old);
        jit_emit(jit, X86_SAVE, old, X86_NONE, sum, -1);
    }
    jit_release(jit, p, p + 1);
    jit_settle(jit);
}

/* A general register = a mask's lanes as bits, of one part. */
static inline void jit_outcomes(Jit *jit, unsigned reg, unsigned mask) {
    const X86Form *form = jit_form(jit, jit->wide ? X86_KGET : X86_SIGNS);
    x86_vex(&jit->code, form, reg, X86_NONE, x86_register(mask), !jit->wide, -1);
}

/* A guard: the lanes' outcomes as bits in eax; the rest, if they are not all as expected, is elsewhere. */
static void jit_lower_guard(Jit *jit, int32_t i, const JitLowering *how) {
    const int32_t p = jit->segment->start[i];
    const uint32_t number = (uint32_t)jit->segment->number[i];
    unsigned mask;
    (void)how;
    jit_advance(jit, p, p + 1);
    mask = jit_in_mask(jit, jit->value[p]);
    jit_outcomes(jit, X86_RAX, mask);
    if (jit->parts == 2) {
        jit_outcomes(jit, X86_RCX, mask + (jit->wide ? &jit->masks : &jit->numbers)->apart);
        X86_PLAIN(&jit->code, "\xC1\xE1"); /* shl ecx, lanes of a part */
        x86_byte(&jit->code, jit_lanes(jit) * (unsigned)jit->pass / 2);
        X86_PLAIN(&jit->code, "\x09\xC8"); /* or eax, ecx */
    }
    jit_release(jit, p, p + 1);
    jit_settle(jit);
    jit_leave_if_failing(jit, number);
}

/* round to an integer is an instruction; to decimal digits a call. */
static void jit_lower_round(Jit *jit, int32_t i, const JitLowering *how) {
    if (jit->segment->number[i] == 0.0)
        jit_lower_unary(jit, i, how);
    else
        jit_lower_call(jit, i, how);
}

/* Roundings: 8: raise no exceptions; 0 to even, 1 down, 2 up, 3 to zero (SDM, table 4-20 at ROUNDPD). */
static const JitLowering JIT_LOWERINGS[VG_GUARD + 1] = {
    [VG_OP_add] = {jit_lower_binary, X86_ADD, 1},
    [VG_OP_sub] = {jit_lower_binary, X86_SUB, 0},
    [VG_OP_mul] = {jit_lower_binary, X86_MUL, 1},
    [VG_OP_div] = {jit_lower_binary, X86_DIV, 0},
    [VG_OP_sqrt] = {jit_lower_unary, X86_SQRT, 0},
    [VG_OP_floor] = {jit_lower_unary, X86_ROUND, 9},
    [VG_OP_ceil] = {jit_lower_unary, X86_ROUND, 10},
    [VG_OP_trunc] = {jit_lower_unary, X86_ROUND, 11},
    [VG_OP_round] = {jit_lower_round, X86_ROUND, 8},
    [VG_OP_neg] = {jit_lower_sign, X86_XOR, JIT_SIGN},
    [VG_OP_abs] = {jit_lower_sign, X86_AND, JIT_MAGNITUDE},
    [VG_OP_lt] = {jit_lower_comparison, X86_COMPARE, JIT_LESS, JIT_MORE},
    [VG_OP_le] = {jit_lower_comparison, X86_COMPARE, JIT_AT_MOST, JIT_AT_LEAST},
    [VG_OP_eq] = {jit_lower_comparison, X86_COMPARE, JIT_EQUAL, JIT_EQUAL},
    [VG_OP_and] = {jit_lower_logic, X86_KAND, X86_AND},
    [VG_OP_or] = {jit_lower_logic, X86_KOR, X86_OR},
    [VG_OP_not] = {jit_lower_not},
    [VG_OP_select] = {jit_lower_select},
    [VG_OP_sum] = {jit_lower_series, X86_ADD, JIT_ZERO},
    [VG_OP_prod] = {jit_lower_series, X86_MUL, JIT_ONE},
    [VG_OP_dot] = {jit_lower_dot},
    [VG_OP_norm] = {jit_lower_norm},
    [VG_OP_maximum] = {jit_lower_extreme, X86_MAX},
    [VG_OP_minimum] = {jit_lower_extreme, X86_MIN},
    [VG_STORE] = {jit_lower_store},
    [VG_STORE_UNIFORM] = {jit_lower_store_uniform},
    [VG_REDUCE] = {jit_lower_reduce},
    [VG_GUARD] = {jit_lower_guard},
};

/* Is instruction i a call? */
static int jit_is_call(const VgSegment *segment, int32_t i) {
    const int op = segment->op[i];
    return JIT_LOWERINGS[op].lower == NULL || op == VG_OP_norm || (op == VG_OP_round && segment->number[i] != 0.0);
}

/* Is there code, or a function to call, for every operation? */
static int jit_can_lower(const Jit *jit) {
    const VgSegment *segment = jit->segment;
    for (int32_t i = 0; i < segment->count; i++) {
        const int op = segment->op[i], n = segment->start[i + 1] - segment->start[i];
        if (jit_is_call(segment, i) && op != VG_OP_norm) {
            if (n < 1 || n > 2 || vg_vector_function(op, jit->float32, jit->strict) == NULL) return 0;
        } else if (n == 0 && (op == VG_OP_maximum || op == VG_OP_minimum)) {
            return 0;
        } else if (op == VG_STORE_UNIFORM && jit->blocks > 1) {
            return 0; /* lane 0 of which block? */
        }
    }
    return 1;
}

/* The slots that are in use throughout. */
static void jit_reserve_slots(Jit *jit) {
    const VgSegment *segment = jit->segment;
    int32_t longest = 0;
    jit->valid_slot = JIT_NOWHERE;
    for (int32_t i = 0; i < segment->count; i++) {
        const int32_t n = segment->start[i + 1] - segment->start[i];
        if (segment->op[i] == VG_REDUCE && jit->valid_slot == JIT_NOWHERE) jit->valid_slot = jit_take_slot(jit);
        if (segment->op[i] == VG_OP_norm && n > longest) longest = n;
    }
    jit->norm_slot = jit->slots;
    if (longest > 0) jit->slots += (longest + 7) / 8 + 1; /* doubles, and the second block's begins later */
}

static void jit_lower_segment(Jit *jit) {
    const VgSegment *segment = jit->segment;
    jit_reserve_slots(jit);
    jit_write_pool(jit);
    jit_begin_function(jit);
    for (int32_t i = 0; i < segment->count && !jit->failed; i++) {
        const JitLowering *how = &JIT_LOWERINGS[segment->op[i]];
        JitTile tile;
        jit_break_stretch(jit);
        if (segment->op[i] == VG_OP_dot && jit_find_tile(jit, i, &tile)) {
            jit_lower_tile(jit, i, &tile);
            i += tile.dots - 1;
            continue;
        }
        if (segment->op[i] >= VG_OP_count || jit->upcoming[i] != JIT_NEVER) {
            (how->lower == NULL ? jit_lower_call : how->lower)(jit, i, how);
            continue;
        }
        for (int32_t p = segment->start[i]; p < segment->start[i + 1]; p++) { /* nobody uses the result */
            jit_advance(jit, p, p + 1);
            jit_release(jit, p, p + 1);
            jit_settle(jit);
        }
    }
    jit_end_function(jit);
}

#endif
