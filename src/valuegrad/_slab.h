/* Memory for Values: slabs of 2 MB, each a bump pointer and a free list.
 *
 * Why not Python's allocator: it gives a graph's memory back to the system after every training step and
 * asks for it anew in the next, page by page, and a page fault costs more than the fifty Values that fit
 * on the page.  Slabs stay (up to VG_SLABS_KEPT empty ones), lie on huge pages where the system has them,
 * and find their header by the address of a Value.  VG_NO_SLABS falls back to Python's allocator, which
 * is what leak checkers and address sanitizers understand.
 *
 * Where to start reading: vg_allocate. */
#ifndef VALUEGRAD_SLAB_H
#define VALUEGRAD_SLAB_H

#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(_WIN32)
#include <malloc.h>
#endif

/* What every operation runs through, and what hardly any does: compilers guess wrongly in a file of this size. */
#if defined(__GNUC__)
#define VG_INLINE inline __attribute__((always_inline))
#define VG_APART __attribute__((noinline, cold))
#define VG_RARELY(condition) __builtin_expect((condition) != 0, 0)
#else
#define VG_INLINE inline
#define VG_APART
#define VG_RARELY(condition) (condition)
#endif

#ifdef VG_NO_SLABS

static inline void *vg_allocate(size_t size) { return PyObject_Malloc(size); }
static inline void vg_free(void *item) { PyObject_Free(item); }

#else

enum { VG_SLAB_SIZE = 1 << 21, VG_SLABS_KEPT = 32 };

typedef struct VgItem {
    struct VgItem *next;
} VgItem;

typedef struct VgSlab {
    VgItem *free;             /* items that were freed */
    char *bump;               /* items from here on were never used */
    char *end;
    size_t used;              /* items in use */
    struct VgSlab *next;      /* in the list of slabs with room; the first of them is being allocated from */
    struct VgSlab *previous;
    int has_room;             /* in that list */
} VgSlab;

static VgSlab *vg_slabs = NULL;
static int vg_empty_slabs = 0;

static VgSlab *vg_slab_new(size_t size) {
    void *memory = NULL;
    VgSlab *slab;
#if defined(_WIN32)
    memory = _aligned_malloc(VG_SLAB_SIZE, VG_SLAB_SIZE);
#else
    if (posix_memalign(&memory, VG_SLAB_SIZE, VG_SLAB_SIZE) != 0) memory = NULL;
#endif
    if (memory == NULL) return NULL;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    madvise(memory, VG_SLAB_SIZE, MADV_HUGEPAGE); /* a wish: without huge pages all works as well */
#endif
    slab = (VgSlab *)memory;
    slab->free = NULL;
    slab->used = 0;
    slab->bump = (char *)memory + 128; /* behind the header, aligned to cache lines */
    slab->end = slab->bump + (VG_SLAB_SIZE - 128) / size * size;
    slab->next = slab->previous = NULL;
    slab->has_room = 1;
    return slab;
}

static void vg_slab_free(VgSlab *slab) {
#if defined(_WIN32)
    _aligned_free(slab);
#else
    free(slab);
#endif
}

/* The first slab is full: go on with the next that has room, or a new one.  NULL without memory. */
static VG_APART VgSlab *vg_slab_next(size_t size) {
    VgSlab *full = vg_slabs;
    if (full != NULL) {
        vg_slabs = full->next;
        full->has_room = 0;
        full->next = NULL;
    }
    if (vg_slabs != NULL) {
        vg_slabs->previous = NULL;
        if (vg_slabs->used == 0) vg_empty_slabs--;
    } else {
        vg_slabs = vg_slab_new(size);
    }
    return vg_slabs;
}

/* Memory for one item of `size` bytes (always the same size), or NULL. */
static inline void *vg_allocate(size_t size) {
    VgSlab *slab = vg_slabs;
    VgItem *item;
    if (VG_RARELY(slab == NULL || (slab->free == NULL && slab->bump == slab->end))) {
        slab = vg_slab_next(size);
        if (slab == NULL) return NULL;
    }
    slab->used++;
    item = slab->free;
    if (item != NULL) {
        slab->free = item->next;
        return item;
    }
    item = (VgItem *)slab->bump;
    slab->bump += size;
    return item;
}

/* A slab that was full has room again, or one that is not allocated from is empty. */
static void vg_slab_changed(VgSlab *slab) {
    if (!slab->has_room) { /* second in the list: the first goes on being allocated from */
        slab->has_room = 1;
        slab->previous = vg_slabs;
        slab->next = vg_slabs ? vg_slabs->next : NULL;
        if (slab->next) slab->next->previous = slab;
        if (vg_slabs) vg_slabs->next = slab;
        else vg_slabs = slab;
    }
    if (slab->used == 0 && slab != vg_slabs) {
        if (vg_empty_slabs < VG_SLABS_KEPT) {
            vg_empty_slabs++;
            return;
        }
        slab->previous->next = slab->next;
        if (slab->next) slab->next->previous = slab->previous;
        vg_slab_free(slab);
    }
}

static inline void vg_free(void *memory) {
    VgSlab *slab = (VgSlab *)((uintptr_t)memory & ~(uintptr_t)(VG_SLAB_SIZE - 1));
    VgItem *item = (VgItem *)memory;
    item->next = slab->free;
    slab->free = item;
    slab->used--;
    if (!slab->has_room || slab->used == 0) vg_slab_changed(slab);
}

#endif
#endif
