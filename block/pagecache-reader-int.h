/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what the reader and its engines share
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The reader (pagecache-reader.c) owns the runs, the bounce buffers, the
 * deadlines and the decision to give a disk up.  An engine owns connections
 * or threads; it pulls merged reads whenever it has a free slot and says how
 * each ended.  Needs GLib and nothing of QEMU.
 *
 * A read that the engine has pulled is always given back by
 * pagecache_reader_complete(), in whatever time: the pages in it come back to
 * the caller at the deadline, the bounce buffer stays the engine's until
 * then.  An engine that never gets its read back (a pread() that hangs) leaks
 * a thread, a buffer and a reference, and nothing waits for it.
 */
#ifndef BLOCK_PAGECACHE_READER_INT_H
#define BLOCK_PAGECACHE_READER_INT_H

#include "block/pagecache-reader.h"

/* Alignments (block lengths) above this are refused */
#define PAGECACHE_READER_MAX_ALIGN  65536u

typedef struct PagecacheEngineOps {
    const char *name;
    /*
     * Starts the engine; must not block.  It takes a reference to the reader
     * (pagecache_reader_ref()) for each thread or pending callback of its
     * own.  NULL with *@why (to be freed) set when it can't be started; then
     * it holds no reference.  Called once, by the first
     * pagecache_reader_submit(), in whatever thread that is.
     */
    void *(*start)(PagecacheReader *r, const PagecacheReaderSpec *spec,
                   unsigned sessions, unsigned depth, char **why);
    /*
     * There may be work to pull, a read was revoked, or
     * pagecache_reader_stopping() turned true.  Any thread; with the reader's
     * lock held, so it must not call back.  NULL: the engine waits in
     * pagecache_reader_next_wait() only.
     */
    void (*kick)(void *engine);
    /* The last reference to the reader is gone.  Any thread. */
    void (*free)(void *engine);
    void (*spec_free)(PagecacheReaderSpec *spec);
} PagecacheEngineOps;

typedef enum PagecacheHeaderDigest {
    PAGECACHE_DIGEST_NONE_CRC32C,
    PAGECACHE_DIGEST_CRC32C_NONE,
    PAGECACHE_DIGEST_CRC32C,
    PAGECACHE_DIGEST_NONE,
} PagecacheHeaderDigest;

typedef enum PagecacheNbdTls {
    PAGECACHE_NBD_PLAIN,
    PAGECACHE_NBD_X509,
    PAGECACHE_NBD_PSK,
} PagecacheNbdTls;

struct PagecacheReaderSpec {
    const PagecacheEngineOps *ops;
    char *name;             /* for messages */
    /*
     * Bytes: where the guest's disk begins in what the engine opens, and its
     * size (0: up to the end)
     */
    uint64_t offset;
    uint64_t size;
    /* bytes/s and reads/s: the guest's own limits; 0: none */
    uint64_t max_bandwidth;
    uint64_t max_iops;
    union {
        struct {
            char *portal;   /* host[:port][,tpgt] */
            char *target;
            char *initiator;
            char *user;     /* CHAP; NULL: none */
            char *password;
            int lun;
            PagecacheHeaderDigest header_digest;
        } iscsi;
        struct {
            char *path;     /* NULL: a descriptor was passed in... */
            int *passed_fd; /* ...ours; -1: taken over by the engine */
        } file;
        struct {
            char *path;     /* UNIX socket; NULL: TCP */
            char *host;
            char *port;     /* number or name of a service */
            char *export;   /* "": the default export */
            PagecacheNbdTls tls;
            char *tls_dir;  /* with QEMU's names of files */
            char *tls_user; /* PSK */
            bool tls_verify;    /* X.509: that the server's is for @host */
        } nbd;
        void *data;         /* other engines: their own; ops->spec_free() */
    } u;
};

/* An empty spec for @ops; the caller fills in the rest. */
PagecacheReaderSpec *pagecache_reader_spec_alloc(const PagecacheEngineOps *ops);

/*
 * A spec for the file or device whose descriptors were passed in; @path:
 * /dev/fdset/N.  Main thread with the BQL.  NULL with @errp set: there is no
 * way.
 */
PagecacheReaderSpec *pagecache_reader_fdset_spec_new(const char *path,
                                                     struct Error **errp);

/*
 * The engines that need no QEMU.  Each enters itself when its object file (or
 * module) is loaded; NULL: built without its library.
 */
extern const PagecacheEngineOps *pagecache_reader_iscsi_ops;
extern const PagecacheEngineOps *pagecache_reader_nbd_ops;
extern const PagecacheEngineOps *pagecache_reader_file_ops;
extern const PagecacheEngineOps pagecache_reader_block_ops;

/*
 * A merged read.  It covers at least what the runs in it need; offset and
 * bytes are multiples of the alignment that the engine gave.
 */
typedef struct PagecacheRead {
    uint8_t *buf;           /* bounce buffer of @bytes, page aligned */
    uint64_t offset;        /* bytes, in what the engine opened */
    uint32_t bytes;         /* to read */
    uint32_t needed;        /* of them must arrive; the rest is alignment */

    /* private to the reader */
    GList link;             /* in PagecacheReader.inflight */
    GArray *pieces;         /* of PagecachePiece */
    int64_t start_us;
    int64_t deadline_us;
    bool tells;             /* how fast the storage is */
    gint revoked;           /* atomic; set under the reader's lock */
} PagecacheRead;

/* --- For engines; any thread, without the reader's lock held ------------- */

PagecacheReader *pagecache_reader_ref(PagecacheReader *r);
void pagecache_reader_unref(PagecacheReader *r);

/*
 * g_thread_try_new() with signals blocked in the new thread: they belong to
 * QEMU's main loop and its vCPU threads.  False when there is no thread.
 */
bool pagecache_reader_thread(const char *name, GThreadFunc fn, void *arg);

/*
 * Whether @n more descriptors may be opened: not the last ones that
 * RLIMIT_NOFILE leaves, which QEMU may need for something else.  True: they
 * count as open until pagecache_reader_fds_opened(@n), to be called when the
 * attempt is over.  False with *@why (to be freed) set.  Any thread.
 */
bool pagecache_reader_fds_reserve(unsigned n, char **why);
void pagecache_reader_fds_opened(unsigned n);

/*
 * How the engine gets at the storage, for the statistics; a text of which
 * there are few different ones, since it is never freed.
 */
void pagecache_reader_method(PagecacheReader *r, const char *text);

/* Starts the engine if it was not; what pagecache_reader_submit() does first */
void pagecache_reader_start(PagecacheReader *r);

/*
 * A session is usable.  What was opened has @size bytes, is read in multiples
 * of @align bytes (a power of two) and takes reads of up to @max_read bytes
 * (0: no limit).  False, with *@why (to be freed) set, when that doesn't fit
 * the spec or what another session said; the session must then not be used,
 * and its end is told by pagecache_reader_down().
 */
bool pagecache_reader_up(PagecacheReader *r, uint64_t size, uint32_t align,
                         uint32_t max_read, char **why);

/*
 * A session that was up (@was_up) or that tried to connect has ended.
 * @refused: the storage answered, and said no; when that happens three times
 * for each session before one was up, the disk is given up.
 */
void pagecache_reader_down(PagecacheReader *r, bool was_up, bool refused,
                           const char *why);

/* What a connect may take, too */
uint32_t pagecache_reader_deadline_ms(PagecacheReader *r);

/* The reader was closed or the disk was given up: the engine has to end. */
bool pagecache_reader_stopping(PagecacheReader *r);

/* Nothing can be done about this disk any more. */
void pagecache_reader_give_up(PagecacheReader *r, const char *why);

/*
 * The next read, owned by the engine until pagecache_reader_complete(); NULL
 * when there is none.  Then *@wait_us is the time after which to ask again
 * (bandwidth cap), or -1: kick() will tell.
 */
PagecacheRead *pagecache_reader_next(PagecacheReader *r, int64_t *wait_us);

/* The same for a thread with nothing else to do.  NULL: stopping. */
PagecacheRead *pagecache_reader_next_wait(PagecacheReader *r);

/*
 * The deadline has passed, or the reader was closed: the pages in @read are
 * the caller's again, and nobody waits for it any more.
 */
static inline bool pagecache_read_revoked(PagecacheRead *read)
{
    return g_atomic_int_get(&read->revoked);
}

/*
 * Gives @read back; calls done() for the pages in it, unless it was revoked.
 * @ret: 0 (at least @needed bytes have arrived) or a negative errno.
 * @why: what went wrong, for the statistics; may be NULL.
 */
void pagecache_reader_complete(PagecacheReader *r, PagecacheRead *read,
                               int ret, const char *why);

/*
 * The reader's lock, for an engine whose kick() must not race with its end.
 */
void pagecache_reader_lock(PagecacheReader *r);
void pagecache_reader_unlock(PagecacheReader *r);

#endif
