/* What a lowered program is made of: the inner interface between the run loop (_run.h), the interpreter
 * (_interpreter.h) and the assembler (_jit.h).
 *
 * Why: a program's nodes fall into three segments: `pre` depends on what is the same for all lanes and runs once,
 * `main` runs for each block of V lanes, `post` depends on sums over the lanes and runs once, at the end.  Each is
 * straight-line code: a list of instructions whose operands are earlier results, scalars, or lanes of an input.
 *
 * Data structures
 *   VgSegment  instructions in SSA form.  A reference r >= 0 is the result of instruction r; r < 0 is memory: i = ~r;
 *              i < uniforms: the scalar uniform[i] (the same for all lanes); else slot i - uniforms of the frame.
 *   frame      V-wide slots, 64 bytes each and so aligned: the block's inputs, its outputs, then what does not fit
 *              into registers.
 *
 * Where to start reading: VgSegment. */
#ifndef VALUEGRAD_MACHINE_H
#define VALUEGRAD_MACHINE_H

#include <stddef.h>
#include <stdint.h>
#include "_opcodes.h" /* generated from primitives/opcodes.py by primitives/render.py: VG_OP_add, VG_OP_count ... */

enum {
    VG_BLOCK_BYTES = 64, /* a slot: 8 lanes of float64, or 16 of float32, on every machine */
    VG_MOST_PARTS = 8    /* of a block that threads share */
};

enum { /* what a segment does besides computing; the numbers follow the graph's operations */
    VG_STORE = VG_OP_count, /* slot `number` of the frame = a */
    VG_STORE_UNIFORM,       /* uniform[number] = lane 0 of a */
    VG_REDUCE,              /* accumulator `number` += a, in the valid lanes */
    VG_GUARD                /* number = 2 k + expected: in lanes where (a != 0) != expected, failed = min(failed, k) */
};

typedef struct VgSegment {
    int32_t count;          /* instructions */
    const uint16_t *op;     /* VG_OP_... of primitives/opcodes.py MACHINE, or one of the four above */
    const int32_t *start;   /* count + 1: instruction i has operands start[i] to start[i + 1] */
    const int32_t *operand; /* references */
    const double *number;   /* the static argument, or as above */
    int32_t uniforms;       /* scalars in `uniform` */
    int32_t slots;          /* slots of the frame in use before this segment's spills */
} VgSegment;

/* A segment ready to run.  T is double or float. valid_bits: which lanes of the block count in sums. */
typedef void (*VgSegmentFunction)(void *frame, void *uniform, void *accumulators, int32_t *failed, uint64_t valid_bits);

/* Likewise for threads that share a block: the parts from `first` on, before `end`. */
typedef struct VgMeeting VgMeeting;
typedef void (*VgSharedFunction)(void *frame, void *uniform, void *accumulators, int32_t *failed, uint64_t valid_bits,
                                 int64_t first, int64_t end, VgMeeting *meeting);

/* A segment on arrays: `count` lanes of each column, of which there is one for each slot of the frame. */
typedef void (*VgStreamFunction)(char *const *columns, const void *uniform, int64_t count);

/* An elementary function on blocks of V lanes, one behind the other; b only where the operation has two operands, number
 * where it is static. */
typedef void (*VgVectorFunction)(const void *a, const void *b, void *out, double number, int64_t blocks);

#endif
