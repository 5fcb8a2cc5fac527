/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: faults on purpose
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Named places in the code where something can be made to go wrong, so that
 * the rare order of events becomes a common one.  They are compiled in with
 * -Dpagecache_faults=true only; otherwise every call below is a constant or
 * nothing.  The list, with what each one does and who survives it how, is in
 * docs/devel/migration/skip-pagecache-faults.rst.
 *
 * A fault is armed with settings like "lose-report:every=3:limit=10"; one
 * that is not armed costs the test of a variable.  Any thread may pass one.
 *
 * Below block/, migration/ and hw/virtio/, all of which have some: so none of
 * them needs a header of another's.
 */
#ifndef QEMU_PAGECACHE_FAULT_H
#define QEMU_PAGECACHE_FAULT_H

/*
 * Not config-host.h: a change there would compile all of QEMU again.  Made by
 * util/meson.build.
 */
#include "util/pagecache-fault-config.h"

typedef enum PagecacheFault {
    /* hints, on their way to the source's pool */
    PAGECACHE_FAULT_LOSE_HINT,
    PAGECACHE_FAULT_DUPLICATE_HINT,
    PAGECACHE_FAULT_MISPLACE_HINT,
    PAGECACHE_FAULT_SLOW_MAP,
    PAGECACHE_FAULT_BUSY_MAP,
    PAGECACHE_FAULT_STOP_MAP,
    PAGECACHE_FAULT_LOSE_ANNOUNCE,
    PAGECACHE_FAULT_LOSE_MESSAGE,
    PAGECACHE_FAULT_DUPLICATE_MESSAGE,
    PAGECACHE_FAULT_STALL_DEVICE,
    /* source */
    PAGECACHE_FAULT_SHUFFLE_OFFERS,
    PAGECACHE_FAULT_LATE_OFFERS,
    PAGECACHE_FAULT_EARLY_RELEASE,
    PAGECACHE_FAULT_RELEASE_IN_FLIGHT,
    PAGECACHE_FAULT_WITHHOLD_RELEASE,
    PAGECACHE_FAULT_EXTRA_SYNC,
    PAGECACHE_FAULT_DELAY_PROOF,
    PAGECACHE_FAULT_DELAY_OUTCOME,
    /* destination */
    PAGECACHE_FAULT_REFUSE_READER,
    PAGECACHE_FAULT_LOSE_OFFER,
    PAGECACHE_FAULT_DUPLICATE_OFFER,
    PAGECACHE_FAULT_DELAY_CLAIM,
    PAGECACHE_FAULT_DELAY_COPY,
    PAGECACHE_FAULT_DELAY_CHANNEL,
    PAGECACHE_FAULT_CORRUPT_DIGEST,
    PAGECACHE_FAULT_LOSE_REPORT,
    PAGECACHE_FAULT_LATE_REPORT,
    PAGECACHE_FAULT_DUPLICATE_REPORT,
    PAGECACHE_FAULT_SHUFFLE_REPORTS,
    PAGECACHE_FAULT_DELAY_POPULATE,
    PAGECACHE_FAULT_FAIL_POPULATE,
    PAGECACHE_FAULT_REFUSE_DIGEST,
    /* the destination's readers */
    PAGECACHE_FAULT_CORRUPT_REFILL,
    PAGECACHE_FAULT_READ_ERROR,
    PAGECACHE_FAULT_SHORT_READ,
    PAGECACHE_FAULT_PARTIAL_READ,
    PAGECACHE_FAULT_SLOW_READ,
    PAGECACHE_FAULT_LOSE_KICK,
    PAGECACHE_FAULT_DROP_SESSION,
    PAGECACHE_FAULT_REFUSE_LOGIN,
    /*
     * These break an invariant: memory is lost.  They exist to prove that the
     * tests would see it, and for nothing else.
     */
    PAGECACHE_FAULT_BREAK_PROOF,
    PAGECACHE_FAULT_BREAK_CLEAR,
    PAGECACHE_FAULT_BREAK_MARK,
    PAGECACHE_FAULT_BREAK_SETTLE,
    PAGECACHE_FAULT_BREAK_CLAIM,
    PAGECACHE_FAULT_BREAK_COPY,
    PAGECACHE_FAULT_BREAK_PLACE,
    PAGECACHE_FAULT__MAX,
} PagecacheFault;

#ifdef CONFIG_PAGECACHE_FAULTS

#include "qemu/atomic.h"

extern unsigned pagecache_fault_set[PAGECACHE_FAULT__MAX];      /* atomic */

bool pagecache_fault_pass(PagecacheFault fault);
void pagecache_fault_wait(PagecacheFault fault, const bool *quit);
void pagecache_fault_wake(void);
void pagecache_fault_flip(PagecacheFault fault, void *data, size_t len);
void pagecache_fault_mix(PagecacheFault fault, GArray *array);
void pagecache_fault_stash(PagecacheFault fault, GArray *array, guint max);

static inline bool pagecache_fault_is_armed(PagecacheFault fault)
{
    return qatomic_read(&pagecache_fault_set[fault]);
}

/* Forgets what pagecache_fault_late() holds: it belongs to a past migration. */
void pagecache_fault_forget(void);

/*
 * What is armed: "name[:parameter=number]...[,...]" or "".  All others are
 * disarmed, which also ends their delays; what is armed with the same
 * settings goes on undisturbed.  False with @err set: nothing has changed.
 */
bool pagecache_faults_arm(const char *settings, char **err);
char *pagecache_faults_armed(void);
const char *pagecache_fault_name(PagecacheFault fault);
/* Does it break an invariant? */
bool pagecache_fault_breaks(PagecacheFault fault);
/* How often it was passed while armed, and how often it fired; since ever */
void pagecache_fault_count(PagecacheFault fault, uint64_t *passed,
                           uint64_t *fired);

#else

static inline bool pagecache_fault_is_armed(PagecacheFault fault)
{
    return false;
}

static inline bool pagecache_fault_pass(PagecacheFault fault)
{
    return false;
}

static inline void pagecache_fault_wait(PagecacheFault fault, const bool *quit)
{
}

static inline void pagecache_fault_wake(void)
{
}

static inline void pagecache_fault_flip(PagecacheFault fault, void *data,
                                        size_t len)
{
}

static inline void pagecache_fault_mix(PagecacheFault fault, GArray *array)
{
}

static inline void pagecache_fault_stash(PagecacheFault fault, GArray *array,
                                         guint max)
{
}

static inline void pagecache_fault_forget(void)
{
}

#endif

/* Shall it go wrong here and now? */
static inline bool pagecache_fault(PagecacheFault fault)
{
    return pagecache_fault_is_armed(fault) && pagecache_fault_pass(fault);
}

/* Lets the thread sleep, until the fault is disarmed at the latest. */
static inline void pagecache_fault_delay(PagecacheFault fault)
{
    if (pagecache_fault_is_armed(fault)) {
        pagecache_fault_wait(fault, NULL);
    }
}

/*
 * The same, and until *@quit (atomic) at the latest; who sets that calls
 * pagecache_fault_wake() then.
 */
static inline void pagecache_fault_delay_unless(PagecacheFault fault,
                                                const bool *quit)
{
    if (pagecache_fault_is_armed(fault)) {
        pagecache_fault_wait(fault, quit);
    }
}

/* Changes one byte of @data. */
static inline void pagecache_fault_corrupt(PagecacheFault fault, void *data,
                                           size_t len)
{
    if (pagecache_fault_is_armed(fault)) {
        pagecache_fault_flip(fault, data, len);
    }
}

/* Brings the elements of @array into another order, if there are several. */
static inline void pagecache_fault_shuffle(PagecacheFault fault, GArray *array)
{
    if (pagecache_fault_is_armed(fault)) {
        pagecache_fault_mix(fault, array);
    }
}

/*
 * Keeps the elements of @array, @max in all, as long as it fires; puts them in
 * front of those of the first call for which it doesn't.  One fault, one
 * thread.
 */
static inline void pagecache_fault_late(PagecacheFault fault, GArray *array,
                                        guint max)
{
    pagecache_fault_stash(fault, array, max);
}

#endif
