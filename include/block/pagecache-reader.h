/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the destination's own read-only way to the guest's disks
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * One PagecacheReader reads one disk.  It never uses the guest's own block
 * node.  Runs (consecutive pages at consecutive sectors) are queued, sorted
 * and merged by sector into large reads into bounce buffers, several in
 * flight a session, each with a deadline.  Nothing here ever waits for
 * storage on behalf of a caller: open, submit and close return at once.
 *
 * Behind it stand engines (PagecacheEngineOps): "iscsi" and "nbd", libiscsi
 * contexts and libnbd handles of our own in our own threads; "file", threads
 * that call pread(); "block", a clone in QEMU's block layer, for image formats
 * on files and devices of this host.
 */
#ifndef BLOCK_PAGECACHE_READER_H
#define BLOCK_PAGECACHE_READER_H

struct BlockBackend;
struct Error;
struct PagecacheBudget;

/* One run of pages to read.  The reader copies it; the caller keeps nothing. */
typedef struct PagecacheRun {
    uint64_t sector;    /* first 512-byte sector on the guest's disk */
    uint64_t page;      /* for the caller: first page in its RAM block */
    uint32_t block;     /* for the caller: its RAM block */
    uint32_t npages;    /* pages of page_size bytes each */
    uint32_t tag;       /* for the caller: the same in each piece of the run */
    uint32_t index;     /* for the caller: counts on with @page in the pieces */
} PagecacheRun;

/* A run, or a part of one, that comes back */
typedef struct PagecachePiece {
    PagecacheRun run;   /* describes the part */
    uint32_t offset;    /* of its content in what was read, in bytes */
} PagecachePiece;

/*
 * Called with what has come back in one go, one piece or more: all pieces of a
 * read, in the order of the disk, or some that could not be read.  It is called
 * from a thread of the reader's, never from within pagecache_reader_submit().
 * All that was submitted comes back.  A run may do so in several pieces, but no
 * page twice.  Several threads of the reader's may call it at the same time.
 *
 * @data: what was read, valid during the call only and not necessarily
 *        aligned: the content of piece p are p.run.npages * page_size bytes
 *        from p.offset on.  NULL when the pages could not be read.
 * @ret:  0, or a negative errno: -ETIMEDOUT the deadline passed, -ECANCELED
 *        the reader was closed, -EINVAL the runs reach beyond the end of the
 *        disk, -EIO and others as the storage says.
 *
 * The callback may block for microseconds (copy, digest), or send on the
 * return path; it may submit more runs; it must not call
 * pagecache_reader_close().
 */
typedef void PagecacheRunsDone(void *opaque, const PagecachePiece *pieces,
                               size_t n, const uint8_t *data, int ret);

/* How the disk is reached.  Made by pagecache_reader_spec_new() (BQL). */
typedef struct PagecacheReaderSpec PagecacheReaderSpec;

/* Defaults and limits of what follows */
#define PAGECACHE_READER_SESSIONS       2
#define PAGECACHE_READER_SESSIONS_MAX   16
#define PAGECACHE_READER_DEADLINE_MS    5000

/* A number that is 0 means the default */
typedef struct PagecacheReaderConfig {
    uint32_t page_size;         /* bytes; a power of two, 512 or more */
    uint32_t sessions;          /* connections or threads; default: 2 */
    uint32_t depth;             /* reads in flight a session; default: 8 */
    uint32_t max_read;          /* bytes a read; default: 256 KiB */
    /*
     * What may be read in a second, by this reader and whoever else has it;
     * NULL: any amount.  The guest's own read limit comes on top.  Must live as
     * long as the process: a read that hangs may come back at any time.
     */
    struct PagecacheBudget *budget;
    bool back_off;              /* fewer in flight while storage is slow */
    /*
     * 512-byte sectors that the guest may know of; default: as many as there
     * are.  A disk that turns out to have fewer is given up.
     */
    uint64_t sectors;
    /* for a read, and for a run that waits for a session; default: 5000 */
    uint32_t deadline_ms;
    /* reads that fail in a row before the disk is given up; default: 64 */
    uint32_t max_failures;
    /*
     * The disk is given up, too, when for so long there is work but no read
     * can be started (no session, all threads stuck); default: 3 * deadline_ms
     */
    uint32_t giveup_ms;
    PagecacheRunsDone *done;
    void *opaque;               /* for @done and @release */
    /*
     * Called once, from any thread, when the reader lets go of @opaque: no
     * @done is called after it.  May come long after the close; it does not
     * wait for a read that hangs.  May be NULL.
     */
    void (*release)(void *opaque);
} PagecacheReaderConfig;

typedef struct PagecacheReader PagecacheReader;

typedef enum PagecacheReaderState {
    PAGECACHE_READER_IDLE,      /* no run was submitted: nothing is open */
    PAGECACHE_READER_OPENING,
    PAGECACHE_READER_READY,
    PAGECACHE_READER_FAILED,    /* given up: every run comes back at once */
} PagecacheReaderState;

typedef struct PagecacheReaderStats {
    const char *engine;         /* "iscsi", "nbd", "file", "block" */
    const char *method;         /* how it reads, and why; NULL: not known */
    PagecacheReaderState state;
    uint32_t sessions;          /* that are up now */
    uint64_t bytes_read;        /* from storage, holes read through included */
    /* handed to @done; more than bytes_read where pages share a place */
    uint64_t bytes_used;
    uint64_t reads;             /* finished well */
    uint64_t errors;            /* reads that failed */
    uint64_t timeouts;          /* of them, for their deadline */
    char *last_error;           /* NULL or the reason; free with g_free() */
} PagecacheReaderStats;

/*
 * Finds out how the image of the guest's disk @blk can be read without the
 * guest's node.  Main thread with the BQL, not in a coroutine.  Opens nothing
 * and does no I/O.  NULL with @errp set when there is no way.
 *
 * @any_protocol: what only the block layer can open, in the main loop, is
 * opened there as well, though it might stop the main loop.
 */
PagecacheReaderSpec *pagecache_reader_spec_new(struct BlockBackend *blk,
                                               bool any_protocol,
                                               struct Error **errp);
void pagecache_reader_spec_free(PagecacheReaderSpec *spec);
/* The kind of reader that it is for, as in PagecacheReaderStats */
const char *pagecache_reader_spec_engine(const PagecacheReaderSpec *spec);
/* bytes/s that the guest's disk is limited to, and so the reader; 0: it isn't */
uint64_t pagecache_reader_spec_limit(const PagecacheReaderSpec *spec);

/*
 * The four functions.
 *
 * open:   takes ownership of @spec.  Returns at once and touches no storage.
 *         Main thread with the BQL, not in a coroutine.  NULL, without a call
 *         of release(), when not even a thread can be had.
 * submit: queues @n runs, all of them before the next read begins.  With the
 *         first one the disk is opened or connected to, in the background: a
 *         disk that nothing is read from costs neither a descriptor nor a
 *         thread.  Any thread; sorts the runs, then takes mutexes for
 *         microseconds.  Memory is bounded by what the caller submits.
 * stats:  any thread.
 * close:  revokes everything that is queued or in flight (it comes back with
 *         -ECANCELED, perhaps later, from a reader's thread) and lets the
 *         reader end by itself.  Any thread; returns at once, even when a
 *         read hangs for ever.  The reader must not be used after it.
 */
PagecacheReader *pagecache_reader_open(PagecacheReaderSpec *spec,
                                       const PagecacheReaderConfig *config);
void pagecache_reader_submit(PagecacheReader *reader, const PagecacheRun *runs,
                             uint32_t n);
void pagecache_reader_stats(PagecacheReader *reader,
                            PagecacheReaderStats *stats);
void pagecache_reader_close(PagecacheReader *reader);

#endif
