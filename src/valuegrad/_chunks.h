/* How a batch is cut into chunks, each of which one thread runs: a part of _run.h.
 *
 * Why: sums over the lanes are added up chunk after chunk, so where a batch is cut is part of what a program computes.  It
 * depends on the number of lanes and on the program alone, not on what executes it nor on the processor;
 * lower/readable.py has the same rule.
 *
 * Data structures: none.
 *
 * Where to start reading: vg_chunk_blocks. */
#ifndef VALUEGRAD_CHUNKS_H
#define VALUEGRAD_CHUNKS_H

#include "_code.h"

enum {
    VG_MOST_CHUNKS = 64,
    VG_FEW_CHUNKS = 16,                /* where one in VG_MANY_SUMS operations of a long program is a sum over the lanes: */
    VG_MANY_SUMS = 16,                 /* each chunk has all of them to itself; half as many where these would be short */
    VG_CHUNK_BLOCKS = 16               /* a chunk is a multiple of so many blocks of V lanes; of VG_LONG_BLOCKS in long ones */
};

/* Blocks of V lanes in a chunk. */
static ptrdiff_t vg_chunk_blocks(const VgCode *code, ptrdiff_t blocks) {
    const int is_long = code->length >= VG_LONG_PROGRAM;
    const ptrdiff_t least = is_long ? VG_LONG_BLOCKS : VG_CHUNK_BLOCKS, few = VG_FEW_CHUNKS / 2;
    const int has_many_sums = is_long && VG_MANY_SUMS * (int64_t)code->lowered.accumulators >= code->length;
    const ptrdiff_t most = has_many_sums ? VG_FEW_CHUNKS : VG_MOST_CHUNKS;
    ptrdiff_t chunk = (blocks + most - 1) / most;
    if (has_many_sums && chunk < VG_CHUNK_BLOCKS) {
        chunk = (blocks + few - 1) / few;
        if (chunk > VG_CHUNK_BLOCKS) chunk = VG_CHUNK_BLOCKS;
    }
    return (chunk + least - 1) / least * least;
}

#endif
