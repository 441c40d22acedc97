/* Threads that help: started when a run first wants them, then they wait for the next one.
 *
 * Why: to start a thread and to join it takes as long as a short run; to wake one takes a tenth of that.
 *
 * How: a run that wants help puts itself into a list.  A thread that is free joins the first run there that wants
 * more.  At its end the run takes itself off the list and waits for those that have joined it; one that comes late
 * finds nothing, so a busy machine costs no time.
 *
 * A process that was forked has none of its parent's threads: it begins anew.  At the process' end they just stop:
 * they hold nothing of Python's.
 *
 * Data structures
 *   VgHelp  a run that wants help.
 *
 * Where to start reading: vg_begin_help, then vg_helper. */
#ifndef VALUEGRAD_THREADS_H
#define VALUEGRAD_THREADS_H

#ifndef _WIN32
#define VG_HAS_THREADS 1
#include <pthread.h>
#include <signal.h>
#else
#define VG_HAS_THREADS 0
#endif

#ifdef _MSC_VER
#define VG_THREAD_LOCAL __declspec(thread)
#else
#define VG_THREAD_LOCAL _Thread_local
#endif

enum { VG_MOST_THREADS = 64 };

#if VG_HAS_THREADS
typedef struct VgHelp {
    struct VgHelp *next;
    void (*work)(void *);
    void *argument;
    int wanted, helping; /* so many threads more; so many are at it */
    pthread_cond_t done; /* nobody is at it any more */
} VgHelp;

static struct {
    pthread_mutex_t mutex; /* for everything here, and the programs' lists of workspaces */
    pthread_cond_t wanted;
    VgHelp *first;
    int threads, prepared;
} vg_pool = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, 0, 0};

static void *vg_helper(void *unused) {
    pthread_mutex_lock(&vg_pool.mutex);
    for (;;) {
        VgHelp *help = vg_pool.first;
        while (help != NULL && help->wanted == 0) help = help->next;
        if (help == NULL) {
            pthread_cond_wait(&vg_pool.wanted, &vg_pool.mutex);
            continue;
        }
        help->wanted--;
        help->helping++;
        pthread_mutex_unlock(&vg_pool.mutex);
        help->work(help->argument);
        pthread_mutex_lock(&vg_pool.mutex);
        if (--help->helping == 0) pthread_cond_signal(&help->done);
    }
    return unused;
}

static void vg_before_fork(void) { pthread_mutex_lock(&vg_pool.mutex); }
static void vg_after_fork(void) { pthread_mutex_unlock(&vg_pool.mutex); }
static void vg_in_child(void) { /* whoever waited for these is not here */
    pthread_mutex_init(&vg_pool.mutex, NULL);
    pthread_cond_init(&vg_pool.wanted, NULL);
    vg_pool.first = NULL;
    vg_pool.threads = 0;
}

/* One more thread, deaf to signals: those are for Python's.  With the mutex held. */
static int vg_start_helper(void) {
    pthread_t thread;
    sigset_t all, before;
    if (!vg_pool.prepared && pthread_atfork(vg_before_fork, vg_after_fork, vg_in_child) != 0) return -1;
    vg_pool.prepared = 1;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&thread, NULL, vg_helper, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) return -1;
    pthread_detach(thread);
    vg_pool.threads++;
    return 0;
}

/* Ask for `wanted` threads that call work(argument): as many do so as can be had before vg_end_help. */
static void vg_begin_help(VgHelp *help, int wanted, void (*work)(void *), void *argument) {
    help->work = work;
    help->argument = argument;
    help->wanted = wanted;
    help->helping = 0;
    pthread_cond_init(&help->done, NULL);
    pthread_mutex_lock(&vg_pool.mutex);
    help->next = vg_pool.first;
    vg_pool.first = help;
    while (vg_pool.threads < wanted && vg_start_helper() == 0) {}
    for (int i = 0; i < wanted; i++) pthread_cond_signal(&vg_pool.wanted);
    pthread_mutex_unlock(&vg_pool.mutex);
}

static void vg_end_help(VgHelp *help) {
    VgHelp **link = &vg_pool.first;
    pthread_mutex_lock(&vg_pool.mutex);
    while (*link != help) link = &(*link)->next;
    *link = help->next;
    while (help->helping > 0) pthread_cond_wait(&help->done, &vg_pool.mutex);
    pthread_mutex_unlock(&vg_pool.mutex);
    pthread_cond_destroy(&help->done);
}
#endif

#endif
