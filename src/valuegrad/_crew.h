/* Threads that do the items of one piece of work after the other, and stay awake between them.
 *
 * Why: a step of a small network, or a loop of a block of lanes, takes less time than a thread takes to wake up.
 *
 * How: vg_offer hands out a ticket, which says how many items there are and how many of them were taken; whoever is awake
 * takes one after the other.  Items that wait for each other, the parts of a shared block, must each have a thread:
 * vg_has_crew.  They meet (VgMeeting): each says in a line of its own how often it has come, and waits for the others.
 *
 * Data structures
 *   VgCrew     the thread that leads, and those that have come to help.
 *   VgMeeting  where threads of a shared block wait for each other.
 *
 * Where to start reading: vg_do, vg_offer, then vg_take_items. */
#ifndef VALUEGRAD_CREW_H
#define VALUEGRAD_CREW_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "_elementary.h"
#include "_machine.h"
#include "_threads.h"

#if VG_HAS_X86
#include <xmmintrin.h>
#endif

#if VG_HAS_THREADS
#include <sched.h>
#include <time.h>
#endif

enum {
    VG_AWAKE = 4096, /* looks for work, or for helpers that were called, before others may have the processor */
    VG_WAKING = 100 * 1000, /* nanoseconds that a thread takes to wake up, and more */
    VG_LINE = 64     /* bytes that processors hand each other */
};

typedef void (*VgItem)(void *argument, ptrdiff_t which, int32_t thread); /* thread: of the crew, 0: the one that leads */

typedef struct VgCrew {
    VgItem item;
    void *argument;
    uint64_t ticket; /* phase << 32 | items << 16 | taken */
    int32_t finished, over;
    int32_t helping; /* threads beside the one that leads */
    int32_t flushes; /* what is subnormal becomes 0 in what they do */
#if VG_HAS_THREADS
    VgHelp help;
#endif
} VgCrew;

struct VgMeeting {
    void (*meet)(VgMeeting *meeting, int64_t part); /* first: machine code finds it there */
    int32_t parts;
    struct {
        int32_t times;
        char line[VG_LINE - sizeof(int32_t)];
    } come[VG_MOST_PARTS];
};

/* Have this thread's results that are subnormal be 0; what to call vg_keep_subnormals with.  Where nothing is
 * done about them, they are kept. */
static unsigned vg_flush_subnormals(void) {
#if VG_HAS_X86
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | _MM_FLUSH_ZERO_ON);
    return before;
#else
    return 0;
#endif
}

static void vg_keep_subnormals(unsigned before) {
#if VG_HAS_X86
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

#if VG_HAS_THREADS
static inline void vg_pause(int64_t *looks) {
#if VG_HAS_X86
    __builtin_ia32_pause();
#endif
    if (++*looks > VG_AWAKE) sched_yield();
}

/* Take items as long as there are any. */
static void vg_take_items(VgCrew *crew, int32_t thread) {
    uint64_t ticket = __atomic_load_n(&crew->ticket, __ATOMIC_ACQUIRE);
    while ((ticket & 0xffff) < (ticket >> 16 & 0xffff)) {
        if (!__atomic_compare_exchange_n(&crew->ticket, &ticket, ticket + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            continue;
        crew->item(crew->argument, (ptrdiff_t)(ticket & 0xffff), thread);
        __atomic_add_fetch(&crew->finished, 1, __ATOMIC_RELEASE);
        ticket = __atomic_load_n(&crew->ticket, __ATOMIC_ACQUIRE);
    }
}

static void vg_join_crew(void *argument) {
    VgCrew *const crew = (VgCrew *)argument;
    const unsigned before = crew->flushes ? vg_flush_subnormals() : 0;
    int64_t looks = 0;
    const int32_t thread = __atomic_add_fetch(&crew->helping, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&crew->over, __ATOMIC_ACQUIRE)) {
        const uint64_t ticket = __atomic_load_n(&crew->ticket, __ATOMIC_ACQUIRE);
        if ((ticket & 0xffff) < (ticket >> 16 & 0xffff)) vg_take_items(crew, thread), looks = 0;
        else vg_pause(&looks);
    }
    if (crew->flushes) vg_keep_subnormals(before);
}
#endif

/* A crew of so many threads, this one included, as soon as the others have woken up. */
static void vg_begin_crew(VgCrew *crew, int threads, int flushes) {
    crew->item = NULL;
    crew->argument = NULL;
    crew->ticket = 0;
    crew->finished = crew->over = crew->helping = 0;
    crew->flushes = flushes;
#if VG_HAS_THREADS
    vg_begin_help(&crew->help, threads - 1, vg_join_crew, crew);
#else
    (void)threads;
#endif
}

static void vg_end_crew(VgCrew *crew) {
#if VG_HAS_THREADS
    __atomic_store_n(&crew->over, 1, __ATOMIC_RELEASE);
    vg_end_help(&crew->help);
#else
    (void)crew;
#endif
}

/* Whether there are so many threads (a crew that is NULL: one). */
static int vg_has_crew(const VgCrew *crew, int threads) {
#if VG_HAS_THREADS
    if (crew != NULL && __atomic_load_n(&crew->helping, __ATOMIC_ACQUIRE) >= threads - 1) return 1;
#else
    (void)crew;
#endif
    return threads <= 1;
}

/* Give threads that were called the time to wake up, or the ones that do other work to come: so many nanoseconds. */
static void vg_await_crew(const VgCrew *crew, int threads, int64_t most) {
#if VG_HAS_THREADS
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int64_t looks = 0; !vg_has_crew(crew, threads); vg_pause(&looks)) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((now.tv_sec - begin.tv_sec) * 1000000000 + (now.tv_nsec - begin.tv_nsec) > most) return;
    }
#else
    (void)crew, (void)threads, (void)most;
#endif
}

/* Have threads that are awake begin with item(argument, which, thread) for each; vg_finish does the rest. */
static void vg_offer(VgCrew *crew, ptrdiff_t items, VgItem item, void *argument) {
    const uint64_t phase = (crew->ticket >> 32) + 1;
    crew->item = item;
    crew->argument = argument;
    crew->finished = 0;
    __atomic_store_n(&crew->ticket, phase << 32 | (uint64_t)items << 16, __ATOMIC_RELEASE);
}

/* Take items too, and wait until all that were offered are done. */
static void vg_finish(VgCrew *crew) {
    const int32_t items = (int32_t)(crew->ticket >> 16 & 0xffff);
#if VG_HAS_THREADS
    int64_t looks = 0;
    vg_take_items(crew, 0);
    while (__atomic_load_n(&crew->finished, __ATOMIC_ACQUIRE) < items) vg_pause(&looks);
#else
    for (int32_t i = 0; i < items; i++) crew->item(crew->argument, i, 0);
#endif
}

/* Call item(argument, which, thread) for each, on all threads of the crew (NULL: on this one). */
static void vg_do(VgCrew *crew, ptrdiff_t items, VgItem item, void *argument) {
    if (crew != NULL) {
        vg_offer(crew, items, item, argument);
        vg_finish(crew);
    } else
        for (ptrdiff_t i = 0; i < items; i++) item(argument, i, 0);
}

/* Wait until a number that another thread of the crew counts up has come so far. */
static void vg_await(const int64_t *number, int64_t value) {
#if VG_HAS_THREADS
    for (int64_t looks = 0; __atomic_load_n(number, __ATOMIC_ACQUIRE) < value;) vg_pause(&looks);
#else
    (void)number, (void)value;
#endif
}

/* --------------------------------------------------------------------------------------------------- meetings */
#if VG_HAS_THREADS
static void vg_meet(VgMeeting *m, int64_t part) {
    const int32_t times = m->come[part].times + 1;
    int64_t looks = 0;
    __atomic_store_n(&m->come[part].times, times, __ATOMIC_RELEASE);
    for (int32_t q = 0; q < m->parts; q++)
        while (__atomic_load_n(&m->come[q].times, __ATOMIC_ACQUIRE) < times) vg_pause(&looks);
}
#endif

static void vg_meet_nobody(VgMeeting *m, int64_t part) { (void)m, (void)part; }

#endif
