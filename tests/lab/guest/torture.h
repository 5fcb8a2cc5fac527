/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * torture: what its parts share
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef TORTURE_H
#define TORTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define SECTOR 512u
#define PAGE 4096u
#define PAGE_SECTORS (PAGE / SECTOR)
#define MAX_WORKERS 16

/*
 * What a sector says of itself.  The rest of the sector follows from it, so
 * that each of its bytes can be checked.  Generation 0 stands for a sector
 * of zeros.
 */
struct stamp {
    uint32_t inode;
    uint32_t index;             /* number of the sector in that inode */
    uint32_t generation;        /* never used twice by a worker */
};

/* Names in the order of enum op */
#define OP_NAMES \
    "pwrite", "mmap", "direct", "truncate", "punch", "zero_range", \
    "collapse", "fallocate", "fsync", "unlink", "reflink", "defrag", \
    "evict", "verify", "swap"

enum op {
    OP_PWRITE, OP_MMAP, OP_DIRECT, OP_TRUNCATE, OP_PUNCH, OP_ZERO_RANGE,
    OP_COLLAPSE, OP_FALLOCATE, OP_FSYNC, OP_UNLINK, OP_REFLINK, OP_DEFRAG,
    OP_EVICT, OP_VERIFY, OP_SWAP,
    OPS
};

/* One process that writes, and what it tells */
struct worker {
    _Atomic uint32_t pid;       /* 0: there is none */
    _Atomic uint32_t epoch;     /* of the last check that it has done */
    _Atomic uint32_t failures;  /* calls that failed and should not have */
    _Atomic uint64_t checked;   /* sectors, of all checks */
    _Atomic uint64_t bad;       /* sectors, of all checks */
    _Atomic uint64_t written;   /* bytes */
    _Atomic uint64_t ops[OPS];  /* how many succeeded */
    char directory[64];
    char message[400];          /* the first thing that was wrong */
};

/* A file in memory that all processes of torture map */
struct control {
    _Atomic uint32_t epoch;     /* raised to ask for a check */
    _Atomic uint32_t drop;      /* that check takes caches away first */
    _Atomic uint32_t rate;      /* KiB/s to be written by each, 0: none */
    struct worker workers[MAX_WORKERS];
};

struct file {
    int fd, direct;             /* the second one with O_DIRECT or -1 */
    uint8_t *map;               /* of the greatest size, or NULL */
    uint32_t inode;
    uint32_t sectors;           /* its size */
    bool named;                 /* has not been unlinked */
    struct stamp *expect;       /* of each sector up to the greatest size */
    char name[128];
};

struct writer {
    struct worker *me;
    const char *directory;
    bool xfs, ext4;
    uint32_t random;
    uint32_t generation;        /* the last one that was used */
    unsigned count;             /* of files */
    uint32_t max;               /* sectors a file may have */
    struct file *files;
    uint8_t *buffer;            /* of the greatest size, page aligned */
};

/* torture.c */
uint32_t pick(struct writer *w, uint32_t limit);
void stamp_fill(uint8_t *sector, const struct stamp *stamp);
bool stamp_matches(const uint8_t *sector, const struct stamp *stamp);
void __attribute__((format(printf, 2, 3)))
report(struct worker *me, const char *format, ...);
void failed(struct worker *me, const char *what, const char *name);

/* torture-file.c */
void file_create(struct writer *w, struct file *f);
uint64_t file_op(struct writer *w, enum op op);
void file_verify(struct writer *w, struct file *f, int way);
void file_evict(struct writer *w, struct file *f);

/* torture-extent.c: blocks that change hands */
bool extent_reflink(struct writer *w, struct file *from, struct file *to);
bool extent_defrag(struct writer *w, struct file *f);

#endif
