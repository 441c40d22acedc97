/* A segment becomes x86-64 machine code: AVX-512 where the CPU has it, else AVX2.
 *
 * Why: an interpreter loads, stores and dispatches for each instruction; a long program is several times faster when
 * its numbers stay in registers.  Compiling is one walk over the segment, at some million instructions a second, so
 * that even a program that runs a few times only is worth it.
 *
 * Mechanism: JIT_LOWERINGS has one line per operation: which function writes its code, with which instruction.
 * Elementary functions are calls (vg_vector_function of _elementary.h); they keep no vector register, so all that is
 * used later goes to the frame before.
 *
 * Several blocks in one call: where instructions or calls wait for each other, two or more blocks side by side do the
 * waiting together (vg_jit_compile says when, _jit_registers.h and _jit_function.h how).  Their results are the same.
 *
 * A condition is the number 1.0 or 0.0, but as long as only comparisons, select and guards have to do with it, it
 * stays a mask.
 *
 * The environment variable VALUEGRAD_ISA chooses: avx512, avx2, or none (the interpreter then runs everything).
 *
 * Where to start reading: vg_jit_compile, then JIT_LOWERINGS. */
#ifndef VALUEGRAD_JIT_H
#define VALUEGRAD_JIT_H

#include "_machine.h"

#if defined(__x86_64__) && defined(__LP64__) && defined(__GNUC__)
#include <sys/mman.h>
#include "_jit_operations.h"

/* What processor and operating system support, or less where VALUEGRAD_ISA says so; VG_BASELINE: too little. */
static int jit_level(void) {
    const char *wish = getenv("VALUEGRAD_ISA");
    const int best = vg_processor_level();
    if (wish != NULL && strcmp(wish, "none") == 0) return VG_BASELINE;
    if (wish != NULL && strcmp(wish, "avx2") == 0 && best > VG_AVX2) return VG_AVX2;
    return best;
}

/* Memory with the code in it, to be executed but no longer written; NULL where the system grants none. */
static void *vg_executable(const void *code, size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    memcpy(memory, code, bytes);
    if (mprotect(memory, bytes, PROT_READ | PROT_EXEC) == 0) return memory;
    munmap(memory, bytes);
    return NULL;
}

static void vg_jit_free(void *memory, size_t memory_bytes) {
    if (memory != NULL) munmap(memory, memory_bytes);
}

/* Can code be made here?  Whether the system grants memory for it is tried once. */
static int vg_jit_available(void) {
    static int granted = -1;
    if (jit_level() == VG_BASELINE) return 0;
    if (granted < 0) {
        const uint8_t ret = 0xC3;
        void *memory = vg_executable(&ret, 1);
        vg_jit_free(memory, 1);
        granted = memory != NULL;
    }
    return granted;
}

/* Slots, uniforms and sums are reached by displacements, jumps by distances, of 32 bits. */
static int jit_displacements_fit(const VgSegment *segment) {
    const int64_t values = (int64_t)segment->count + segment->uniforms + segment->slots;
    return values < 1 << 24 && segment->start[segment->count] < 1 << 25;
}

/* A row of dots takes, for each place in the shared list, the shared number and the other one of each dot. */
static void jit_find_uses_of_tile(Jit *jit, const JitTile *tile, int32_t i) {
    const VgSegment *segment = jit->segment;
    int32_t p = segment->start[i];
    for (int32_t k = 0; k < tile->pairs; k++)
        for (int32_t m = 0; m < tile->dots; m++) {
            const int32_t *list = segment->operand + segment->start[i + m];
            for (int other = 0; other < 2; other++) {
                const int32_t reference = list[k + ((tile->half[m] ^ other) ? tile->pairs : 0)];
                jit->value[p++] = reference >= 0 ? reference : segment->count + ~reference;
            }
        }
}

/* The segment's uses of values in the order of consumption: dot(x0, x1, y0, y1) takes x0 y0 x1 y1.  Then, backwards,
 * each use's next one; after that `upcoming` is each value's first use. */
static void jit_find_uses(Jit *jit) {
    const VgSegment *segment = jit->segment;
    JitTile tile;
    for (int32_t i = 0; i < segment->count; i++) {
        if (segment->op[i] == VG_OP_dot && jit_find_tile(jit, i, &tile)) {
            jit_find_uses_of_tile(jit, &tile, i);
            i += tile.dots - 1;
            continue;
        }
        const int32_t start = segment->start[i], n = segment->start[i + 1] - start;
        for (int32_t k = 0; k < n; k++) {
            const int32_t at = segment->op[i] == VG_OP_dot ? k / 2 + (k % 2 ? n / 2 : 0) : k;
            const int32_t reference = segment->operand[start + at];
            jit->value[start + k] = reference >= 0 ? reference : segment->count + ~reference;
        }
    }
    for (int32_t p = segment->start[segment->count] - 1; p >= 0; p--) {
        jit->next[p] = jit->upcoming[jit->value[p]];
        jit->upcoming[jit->value[p]] = p;
    }
}

/* The arrays of `jit`, in one allocation. */
static int32_t *jit_prepare(Jit *jit) {
    const VgSegment *segment = jit->segment;
    const size_t uses = (size_t)segment->start[segment->count];
    const size_t values = (size_t)segment->count + (size_t)segment->uniforms + (size_t)segment->slots;
    int32_t *arrays = (int32_t *)malloc((2 * uses + 2 * values) * sizeof(int32_t) + values + 1);
    if (arrays == NULL) return NULL;
    jit->value = arrays;
    jit->next = arrays + uses;
    jit->upcoming = jit->next + uses;
    jit->home = jit->upcoming + values;
    jit->reg = (int8_t *)(jit->home + values);
    for (size_t v = 0; v < values; v++) {
        const size_t uniform = v - (size_t)segment->count, slot = uniform - (size_t)segment->uniforms;
        jit->upcoming[v] = JIT_NEVER;
        jit->reg[v] = JIT_NOWHERE;
        jit->home[v] = JIT_NOWHERE;
        if (v >= (size_t)segment->count) jit->home[v] = (int32_t)(jit_is_uniform(jit, (int32_t)v) ? uniform : slot);
    }
    jit_find_uses(jit);
    return arrays;
}

static void jit_nothing(void *frame, void *uniform, void *accumulators, int32_t *failed, uint64_t valid_bits) {
    (void)frame, (void)uniform, (void)accumulators, (void)failed, (void)valid_bits;
}

typedef struct JitResult {
    VgSegmentFunction function;
    void *memory;
    size_t bytes; /* of memory: the code and its constants */
    int32_t slots;
} JitResult;

/* Two blocks at once have half of the registers: no longer faster once many values give way.  From JIT_LONG uses of
 * values on the code is longer than the first cache, and stretches of it run for many blocks (jit_break_stretch). */
enum { JIT_INSTRUCTIONS_A_SPILL = 5, JIT_LONG = 1 << 13 };

/* Code that computes `blocks` blocks; `pairs`: with AVX-512 two at once. */
static JitResult jit_compile(const VgSegment *segment, int is_float32, int strict, int blocks, int pairs) {
    JitResult result = {NULL, NULL, 0, segment->slots};
    Jit jit;
    int32_t *arrays;
    memset(&jit, 0, sizeof jit);
    jit.segment = segment;
    jit.float32 = is_float32;
    jit.strict = strict;
    jit.wide = jit_level() == VG_AVX512;
    jit.parts = pairs || !jit.wide ? 2 : 1;
    jit.blocks = blocks;
    jit.pass = jit.wide ? jit.parts : 1;
    jit.slots = segment->slots;
    jit.most_spills = pairs ? segment->count / JIT_INSTRUCTIONS_A_SPILL : INT32_MAX;
    jit.numbers.usable = !jit.wide ? 0xFF : pairs ? 0xFFFF : 0xFFFFFFFF;
    jit.numbers.apart = jit.wide ? 16 : 8;
    jit.masks.usable = pairs ? 0x0E : 0x7E; /* k0 means "no mask"; k7: the valid lanes */
    jit.masks.apart = 3;
    if (!jit_can_lower(&jit)) return result;
    arrays = jit_prepare(&jit);
    jit.code.capacity = 4096 + 8 * (size_t)segment->start[segment->count];
    jit.code.at = (uint8_t *)malloc(jit.code.capacity);
    if (arrays != NULL && jit.code.at != NULL) {
        jit_forget_all(&jit);
        jit_lower_segment(&jit);
        if (!jit.code.failed && !jit.failed) result.memory = vg_executable(jit.code.at, jit.code.size);
    }
    if (result.memory != NULL) {
        result.function = (VgSegmentFunction)((uintptr_t)result.memory + JIT_POOL_BYTES);
        result.bytes = jit.code.size;
        result.slots = jit.slots;
    }
    free(arrays);
    free(jit.code.at);
    free(jit.spare.at);
    free(jit.leaving.at);
    free(jit.guards);
    return result;
}

/* Machine code for a segment, or NULL if there is an operation that only the interpreter knows, or no memory.
 *
 * `blocks`: how many blocks it computes in one call, side by side in slots that wide.  The caller says how many there
 * may be (not more than 64 lanes); if more than one, code for just one is there already, and NULL says that more would
 * not be faster.  Elementary functions in a chain are faster the more there are, and so is long code; else two are
 * enough.
 * `slots_needed`: how many slots the frame has to have. */
static VgSegmentFunction vg_jit_compile(const VgSegment *segment, int is_float32, int strict, int *blocks,
                                        int32_t *slots_needed, size_t *code_bytes, void **memory,
                                        size_t *memory_bytes) {
    const int level = jit_level();
    const int pairs = *blocks > 1 && level == VG_AVX512, is_long = segment->start[segment->count] > JIT_LONG;
    JitResult result = {jit_nothing, NULL, 0, segment->slots};
    int calls = 0;
    for (int32_t i = 0; i < segment->count && !calls; i++) calls = jit_is_call(segment, i);
    if (*blocks > 1 && !calls && !is_long) *blocks = 2;
    if (level == VG_BASELINE || !jit_displacements_fit(segment)) {
        result.function = NULL;
    } else if (segment->count > 0) {
        result.function = NULL;
        if (pairs) result = jit_compile(segment, is_float32, strict, *blocks, 1);
        if (result.function == NULL && (*blocks == 1 || calls || is_long))
            result = jit_compile(segment, is_float32, strict, *blocks, 0);
    }
    *slots_needed = result.slots;
    *code_bytes = *memory_bytes = result.bytes;
    *memory = result.memory;
    return result.function;
}

#else /* other processors, compilers and systems: the interpreter runs everything */

static int vg_jit_available(void) { return 0; }

static VgSegmentFunction vg_jit_compile(const VgSegment *segment, int is_float32, int strict, int *blocks,
                                        int32_t *slots_needed, size_t *code_bytes, void **memory,
                                        size_t *memory_bytes) {
    (void)segment, (void)is_float32, (void)strict, (void)blocks, (void)slots_needed, (void)code_bytes;
    (void)memory_bytes;
    *memory = NULL;
    return NULL;
}

static void *vg_executable(const void *code, size_t bytes) {
    (void)code, (void)bytes;
    return NULL;
}

static void vg_jit_free(void *memory, size_t memory_bytes) { (void)memory, (void)memory_bytes; }

#endif
#endif
