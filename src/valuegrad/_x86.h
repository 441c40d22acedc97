/* x86-64 machine code: a growing buffer of bytes, and one encoder each for AVX-512 (EVEX) and AVX2 (VEX).
 *
 * Why: a program's instructions are few and alike, so an encoder of its own, made of a table with one line per
 * instruction, is smaller than any assembler library, needs nothing installed, and writes an instruction in a few
 * nanoseconds.  "SDM" is Intel's Software Developer's Manual, volume 2: 2.3 (VEX), 2.7 (EVEX), 2.7.5 (disp8*N).
 *
 * Data structures
 *   X86Bytes  the buffer; `failed` is sticky, so that only the end of a compilation has to look at it.
 *   X86Form   an instruction's opcode, for float64 and float32.
 *   X86Place  where an operand is: a register, memory (base register + displacement), or a constant before the code.
 *
 * Where to start reading: X86_FORMS, then x86_evex. */
#ifndef VALUEGRAD_X86_H
#define VALUEGRAD_X86_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct X86Bytes {
    uint8_t *at;
    size_t size, capacity;
    int failed; /* no memory */
} X86Bytes;

enum { X86_LONGEST = 16 }; /* bytes of one instruction; the CPU allows 15 */

/* Room for `more` bytes, or `failed`: the first bytes are written over and over then, so that callers need no check. */
static inline void x86_room(X86Bytes *code, size_t more) {
    size_t capacity = code->capacity;
    uint8_t *bytes;
    if (code->size + more <= capacity) return;
    while (capacity < code->size + more) capacity = 2 * capacity;
    bytes = (uint8_t *)realloc(code->at, capacity);
    if (bytes == NULL) {
        code->failed = 1;
        code->size = 0; /* the first allocation was at least this long */
        return;
    }
    code->at = bytes;
    code->capacity = capacity;
}

static inline void x86_byte(X86Bytes *code, unsigned byte) { code->at[code->size++] = (uint8_t)byte; }

static inline void x86_word(X86Bytes *code, uint32_t word) {
    memcpy(code->at + code->size, &word, 4);
    code->size += 4;
}

/* Bytes as they are: the few instructions that no table is worth. */
static void x86_plain(X86Bytes *code, size_t count, const char *bytes) {
    x86_room(code, count + X86_LONGEST);
    memcpy(code->at + code->size, bytes, count);
    code->size += count;
}
#define X86_PLAIN(code, bytes) x86_plain(code, sizeof(bytes) - 1, bytes)

enum {
    X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI, X86_R12 = 12, X86_R13, X86_R14, X86_R15
};

/* The opcode map is the number of 0F, 0F 38 or 0F 3A; the prefix that of none, 66, F3 or F2 (SDM 2.3.6.1, 2.3.6.2). */
enum { X86_0F = 1, X86_0F38, X86_0F3A };
enum { X86_NP, X86_66, X86_F3, X86_F2 };

typedef struct X86Form {
    uint8_t map, prefix, opcode;
    uint8_t evex_w, vex_w; /* the bit W; where VEX ignores it: 0, which is the shorter */
    uint8_t scale;         /* log2 of the bytes of an operand in memory, the N of disp8*N; a broadcast has its own */
} X86Form;

/* 0F map, W and prefix tell float64 from float32: nearly all arithmetic. */
#define X86_PACKED(opcode) {{X86_0F, X86_66, opcode, 1, 0, 6}, {X86_0F, X86_NP, opcode, 0, 0, 6}}
/* W alone, or the opcode as well. */
#define X86_MAPPED(map, opcode, narrow) {{map, X86_66, opcode, 1, 0, 6}, {map, X86_66, narrow, 0, 0, 6}}
/* Mask registers: VEX only. */
#define X86_MASK(prefix, opcode) {{X86_0F, prefix, opcode, 0, 0, 1}, {X86_0F, prefix, opcode, 0, 0, 1}}

typedef enum X86Instruction {
    X86_LOAD, X86_SAVE, X86_ADD, X86_MUL, X86_SUB, X86_MIN, X86_DIV, X86_MAX, X86_SQRT, X86_AND, X86_OR, X86_XOR,
    X86_COMPARE, X86_ROUND, X86_FMA, X86_BLEND, X86_BLENDV, X86_SPREAD, X86_SAVE_ONE, X86_SIGNS,
    X86_KLOAD, X86_KSAVE, X86_KAND, X86_KOR, X86_KNOT, X86_KSET, X86_KGET,
    X86_PSPREAD, X86_PAND, X86_PEQUAL
} X86Instruction;

static const X86Form X86_FORMS[][2] = {
    [X86_LOAD] = X86_PACKED(0x28),                      /* vmovapd x, x/m */
    [X86_SAVE] = X86_PACKED(0x29),                      /* vmovapd m, x */
    [X86_ADD] = X86_PACKED(0x58),                       /* vaddpd */
    [X86_MUL] = X86_PACKED(0x59),                       /* vmulpd */
    [X86_SUB] = X86_PACKED(0x5C),                       /* vsubpd */
    [X86_MIN] = X86_PACKED(0x5D),                       /* vminpd */
    [X86_DIV] = X86_PACKED(0x5E),                       /* vdivpd */
    [X86_MAX] = X86_PACKED(0x5F),                       /* vmaxpd */
    [X86_SQRT] = X86_PACKED(0x51),                      /* vsqrtpd */
    [X86_AND] = X86_PACKED(0x54),                       /* vandpd */
    [X86_OR] = X86_PACKED(0x56),                        /* vorpd */
    [X86_XOR] = X86_PACKED(0x57),                       /* vxorpd */
    [X86_COMPARE] = X86_PACKED(0xC2),                   /* vcmppd k or x, x, x/m, imm8 */
    [X86_ROUND] = X86_MAPPED(X86_0F3A, 0x09, 0x08),      /* vrndscalepd, with VEX vroundpd: x, x/m, imm8 */
    [X86_FMA] = {{X86_0F38, X86_66, 0xB8, 1, 1, 6}, {X86_0F38, X86_66, 0xB8, 0, 0, 6}}, /* vfmadd231pd */
    [X86_BLEND] = X86_MAPPED(X86_0F38, 0x65, 0x65),      /* vblendmpd x{k}, x, x/m */
    [X86_BLENDV] = X86_MAPPED(X86_0F3A, 0x4B, 0x4A),     /* vblendvpd x, x, x/m, x */
    [X86_SPREAD] = {{X86_0F38, X86_66, 0x19, 1, 0, 3}, {X86_0F38, X86_66, 0x18, 0, 0, 2}}, /* vbroadcastsd x, m */
    [X86_SAVE_ONE] = {{X86_0F, X86_F2, 0x11, 1, 0, 3}, {X86_0F, X86_F3, 0x11, 0, 0, 2}},   /* vmovsd m, x */
    [X86_SIGNS] = X86_PACKED(0x50),                     /* vmovmskpd r32, x */
    [X86_KLOAD] = X86_MASK(X86_NP, 0x90),                /* kmovw k, k/m16 */
    [X86_KSAVE] = X86_MASK(X86_NP, 0x91),                /* kmovw m16, k */
    [X86_KAND] = X86_MASK(X86_NP, 0x41),                 /* kandw */
    [X86_KOR] = X86_MASK(X86_NP, 0x45),                  /* korw */
    [X86_KNOT] = X86_MASK(X86_NP, 0x44),                 /* knotw */
    [X86_KSET] = X86_MASK(X86_NP, 0x92),                 /* kmovw k, r32 */
    [X86_KGET] = {{X86_0F, X86_66, 0x93, 0, 0, 0}, {X86_0F, X86_NP, 0x93, 0, 0, 0}}, /* kmovb (8 lanes), kmovw r32, k */
    [X86_PSPREAD] = X86_MAPPED(X86_0F38, 0x59, 0x58),    /* vpbroadcastq, vpbroadcastd x, xmm */
    [X86_PAND] = {{X86_0F, X86_66, 0xDB, 0, 0, 6}, {X86_0F, X86_66, 0xDB, 0, 0, 6}},       /* vpand */
    [X86_PEQUAL] = {{X86_0F38, X86_66, 0x29, 0, 0, 6}, {X86_0F, X86_66, 0x76, 0, 0, 6}},   /* vpcmpeqq, vpcmpeqd */
};

typedef enum X86Kind { X86_REGISTER, X86_MEMORY, X86_POOL } X86Kind;

typedef struct X86Place {
    uint8_t kind;
    uint8_t reg;       /* the register, or the base register */
    uint8_t broadcast; /* one number in memory for all lanes (EVEX) */
    uint8_t step;      /* memory of two vectors (_jit_registers.h): how many bytes apart */
    int32_t at;        /* displacement; in the pool: offset from the start of the buffer */
} X86Place;

static inline X86Place x86_register(unsigned number) {
    const X86Place place = {X86_REGISTER, (uint8_t)number, 0, 0, 0};
    return place;
}

static inline X86Place x86_memory(unsigned base, int32_t at) {
    const X86Place place = {X86_MEMORY, (uint8_t)base, 0, 0, at};
    return place;
}

/* A number before the code, for all lanes. */
static inline X86Place x86_pool(int32_t at) {
    const X86Place place = {X86_POOL, 0, 1, 0, at};
    return place;
}

/* ModR/M and displacement (SDM 2.1.5, tables 2-2 and 2-3).  `scale`: disp8 counts in 2**scale bytes; `after`: bytes of
 * the instruction that follow, since a constant's address is relative to the instruction's end.  No base register is
 * rsp or r12, which would need a SIB byte. */
static inline void x86_modrm(X86Bytes *code, unsigned reg, X86Place place, unsigned scale, unsigned after) {
    const unsigned bits = (reg & 7) << 3;
    if (place.kind == X86_REGISTER) {
        x86_byte(code, 0xC0 | bits | (place.reg & 7));
    } else if (place.kind == X86_POOL) {
        x86_byte(code, 0x05 | bits);
        x86_word(code, (uint32_t)(place.at - (int32_t)(code->size + 4 + after)));
    } else {
        const int32_t unit = place.at >> scale;
        const int small = unit >= -128 && unit <= 127 && unit * (1 << scale) == place.at;
        x86_byte(code, (small ? 0x40 : 0x80) | bits | (place.reg & 7));
        if (small)
            x86_byte(code, (unsigned)unit & 0xFF);
        else
            x86_word(code, (uint32_t)place.at);
    }
}

enum { X86_ZEROING = 0x80 }; /* with a mask: lanes left out become 0, not what they were */
enum { X86_NONE = 32 };      /* for `second` where an instruction has none: its bits must be those of register 0 */

/* A 512-bit instruction with an EVEX prefix: reg = op(second, place), in the lanes of mask register `mask & 7`
 * (0: all).  SDM 2.7.1: 62, then R X B R' 0 m m m, W v v v v 1 p p, z L' L b V' a a a; R X B R' V' and vvvv are
 * inverted. */
static inline void x86_evex(X86Bytes *code, const X86Form *form, unsigned reg, unsigned second, X86Place place,
                           unsigned mask, int immediate) {
    const unsigned high = place.kind == X86_POOL ? 0 : place.reg;
    const unsigned x = place.kind == X86_REGISTER ? high >> 4 & 1 : 0;
    const unsigned broadcast = place.broadcast && form->scale == 6; /* vbroadcastsd and vmovsd take one number anyway */
    const unsigned scale = broadcast ? 2u + form->evex_w : form->scale;
    x86_room(code, X86_LONGEST);
    x86_byte(code, 0x62);
    x86_byte(code, ((reg >> 3 & 1) << 7 | x << 6 | (high >> 3 & 1) << 5 | (reg >> 4 & 1) << 4 | form->map) ^ 0xF0);
    x86_byte(code, form->evex_w << 7 | (~second & 15) << 3 | 4u | form->prefix);
    x86_byte(code, (mask & X86_ZEROING) | 0x40 | broadcast << 4 | (~second >> 4 & 1) << 3 | (mask & 7));
    x86_byte(code, form->opcode);
    x86_modrm(code, reg, place, scale, immediate >= 0);
    if (immediate >= 0) x86_byte(code, (unsigned)immediate);
}

/* With a VEX prefix: 256 bits (`wide`) or 128; mask registers' own instructions too.  SDM 2.3.5: C5, then
 * R v v v v L p p; or C4, then R X B m m m m m, W v v v v L p p. */
static inline void x86_vex(X86Bytes *code, const X86Form *form, unsigned reg, unsigned second, X86Place place,
                          unsigned wide, int immediate) {
    const unsigned b = place.kind == X86_POOL ? 0 : place.reg >> 3 & 1;
    const unsigned low = (~second & 15) << 3 | wide << 2 | form->prefix;
    const unsigned r = (~reg >> 3 & 1) << 7;
    x86_room(code, X86_LONGEST);
    if (form->map == X86_0F && b == 0 && form->vex_w == 0) {
        x86_byte(code, 0xC5);
        x86_byte(code, r | low);
    } else {
        x86_byte(code, 0xC4);
        x86_byte(code, r | 0x40 | (b ? 0 : 0x20) | form->map);
        x86_byte(code, form->vex_w << 7 | low);
    }
    x86_byte(code, form->opcode);
    x86_modrm(code, reg, place, 0, immediate >= 0);
    if (immediate >= 0) x86_byte(code, (unsigned)immediate);
}

#endif
