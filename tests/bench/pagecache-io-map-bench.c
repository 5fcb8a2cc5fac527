/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the I/O map of a large guest costs, without a guest: going through it for
 * hints, making MAP frames of it, taking them over, sweeping it.
 *
 *   pagecache-io-map-bench [OPTION...]
 *
 * 1 GiB of random pages, in huge pages if the host likes, is mapped as often as
 * the guest is to have gigabytes, so that it looks like that much RAM and is
 * read from memory.  Entries are in runs of a given length, which do not continue
 * each other.  One thread; wall-clock times, of frames its CPU time.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "exec/ramlist.h"
#include "bench.h"
#include "migration/pagecache.h"
#include "pagecache-io-disks.h"
#include "pagecache-io-map.h"
#include "pagecache-io-sender.h"
#include "pagecache-io-walk.h"
#include "pagecache-wire-map.h"

#define PAGE        4096
#define GIB_PAGES   (GiB / PAGE)
#define SECTORS     (PAGE / 512)

static int gib = 1024, million_entries = 200, run_pages = 3;

static const GOptionEntry options[] = {
    { "gib", 'g', 0, G_OPTION_ARG_INT, &gib, "RAM (default: 1024)", "N" },
    { "entries", 'e', 0, G_OPTION_ARG_INT, &million_entries,
      "Million entries (default: 200)", "N" },
    { "run", 'r', 0, G_OPTION_ARG_INT, &run_pages,
      "Pages a run (default: 3)", "N" },
    { NULL }
};

/* There is one disk, and START has it. */
int pagecache_io_disks_index(uint8_t number)
{
    return number - 1;
}

static RAMBlock ram, copy;
RAMBlock *shim_ram_blocks[] = { &ram, &copy, NULL };

/* What is said when memory or file is not to be had */
static void G_NORETURN die(const char *what)
{
    fprintf(stderr, "pagecache-io-map-bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double seconds(void)
{
    return g_get_monotonic_time() / 1e6;
}

static void make_ram(void)
{
    size_t i, bytes = gib * GiB;
    int fd = memfd_create("ram", 0);
    uint8_t *at;

    if (fd < 0 || ftruncate(fd, GiB)) {
        die("1 GiB of memory");
    }
    ram.host = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
                    MAP_NORESERVE, -1, 0);
    if (ram.host == MAP_FAILED) {
        die("address space");
    }
    for (i = 0; i < gib; i++) {
        at = mmap(ram.host + i * GiB, GiB, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_FIXED, fd, 0);
        if (at == MAP_FAILED) {
            die("mapping it once more");
        }
    }
    for (i = 0; i < GiB; i += sizeof(uint32_t)) {
        *(uint32_t *)(ram.host + i) = i * 2654435761u + (i >> 12);
    }
    ram.used_length = ram.max_length = bytes;
    copy = ram;
    copy.pagecache_io_map = NULL;
}

/* Runs with a page between them; their places on the disk are shuffled. */
static uint64_t make_entries(void)
{
    PagecacheIoMap *first = pagecache_io_map_hold(&copy);
    PagecacheIoMap *map;
    uint64_t page, pages = gib * GIB_PAGES, n = 0;
    g_autofree uint32_t *sums = g_new(uint32_t, GIB_PAGES);
    PagecacheIoPlace place = { .disk = 1 };

    /* All mappings have the same pages: one sum for each will do. */
    pagecache_io_map_set_whole(true);
    for (page = 0; page < GIB_PAGES; page++) {
        pagecache_io_map_seed(first, page, &place, ram.host + page * PAGE);
        pagecache_io_map_read(&copy, page, &place, &sums[page]);
    }
    pagecache_io_map_release(first);
    pagecache_io_map_drop();

    map = pagecache_io_map_hold(&ram);
    for (page = 0; page < pages && n < million_entries * 1000000ULL; page++) {
        uint64_t run = page / (run_pages + 1);

        if (page % (run_pages + 1) == run_pages) {
            continue;
        }
        place.sector = (run * 0x9e3779b1 % 0xffffffb * (run_pages + 1) +
                        page % (run_pages + 1)) * SECTORS % (1ULL << 39);
        pagecache_io_map_put(map, page, &place, sums[page % GIB_PAGES]);
        n++;
    }
    pagecache_io_map_release(map);
    return n;
}

typedef struct Walked {
    double start, first;
    uint64_t runs, pages;
} Walked;

static bool found(void *opaque, const PagecacheIoRun *runs, size_t n)
{
    Walked *w = opaque;
    size_t i;

    if (!w->runs) {
        w->first = seconds();
    }
    w->runs += n;
    for (i = 0; i < n; i++) {
        w->pages += runs[i].npages;
    }
    return true;
}

static void walk(uint64_t entries)
{
    g_autoptr(GPtrArray) blocks = g_ptr_array_new();
    PagecacheIoWalk *io_walk;
    Walked w = { 0 };
    double end;

    g_ptr_array_add(blocks, &ram);
    w.start = seconds();
    io_walk = pagecache_io_walk_new(blocks, PAGECACHE_SAMPLE_ALL);
    pagecache_io_walk_run(io_walk, found, &w);
    end = seconds();
    pagecache_io_walk_free(io_walk);
    if (w.pages != entries) {
        fprintf(stderr, "pagecache-io-map-bench: %" PRIu64 " pages fit, "
                "expected all of %" PRIu64 "\n", w.pages, entries);
        exit(1);
    }
    printf("hints: first after %.2f ms, last after %.1f s, %.0f ns a page, "
           "%" PRIu64 " runs\n", (w.first - w.start) * 1e3, end - w.start,
           (end - w.start) * 1e9 / entries, w.runs);
}

/* Takes a frame over, as the destination does. */
static void take(const GByteArray *frame)
{
    PagecacheIoMap *map = pagecache_io_map_hold(&copy);
    PagecacheIoPlace place = { .disk = 1 };
    g_autofree char *err = NULL;
    PagecacheWireMapRun run;
    size_t pos = 0;
    uint16_t i;

    while (pagecache_wire_map_next(frame->data + PAGECACHE_WIRE_FRAME_HEADER,
                                   frame->len - PAGECACHE_WIRE_FRAME_HEADER,
                                   &pos, &run, &err)) {
        place.sector = run.sector;
        for (i = 0; i < run.npages; i++) {
            pagecache_io_map_put(map, run.page + i, &place,
                                 pagecache_wire_map_sum(&run, i));
            place.sector += SECTORS;
        }
    }
    pagecache_io_map_release(map);
}

static void send(uint64_t entries)
{
    g_autoptr(PagecacheWireStart) start_frame = pagecache_wire_start_new();
    g_autoptr(GPtrArray) blocks = g_ptr_array_new();
    PagecacheWireDisk disk = {
        .id = 0, .sectors = 1ULL << 40, .path = g_strdup("disk"),
    };
    PagecacheWireBlock block = {
        .id = 0, .npages = gib * GIB_PAGES, .idstr = g_strdup("ram"),
    };
    double making = 0, taking = 0, longest = 0;
    PagecacheIoSender *sender;
    uint64_t bytes = 0;

    g_array_append_val(start_frame->disks, disk);
    g_array_append_val(start_frame->blocks, block);
    g_ptr_array_add(blocks, &ram);
    sender = pagecache_io_sender_new(start_frame, blocks);
    while (!pagecache_io_sender_is_done(sender)) {
        g_autoptr(GByteArray) frame = NULL;
        double start = now_ns() / 1e9, made;

        pagecache_io_sender_next(sender, &frame);
        made = now_ns() / 1e9;
        making += made - start;
        longest = MAX(longest, made - start);
        if (frame) {
            bytes += frame->len;
            take(frame);
            taking += now_ns() / 1e9 - made;
        }
    }
    pagecache_io_sender_free(sender);
    printf("frames: made in %.2f s, %.1f ns a page, the longest %.2f ms; "
           "taken in %.2f s, %.1f ns a page; %.2f bytes a page\n", making,
           making * 1e9 / entries, longest * 1e3, taking,
           taking * 1e9 / entries, (double)bytes / entries);
}

int main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    GError *error = NULL;
    uint64_t entries;
    double start;

    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || gib < 1 ||
        million_entries < 1 || run_pages < 1) {
        fprintf(stderr, "pagecache-io-map-bench: %s\n",
                error ? error->message : "expected positive numbers");
        return 1;
    }
    make_ram();
    entries = make_entries();
    printf("%d GiB, %" PRIu64 " entries in runs of %d; map of %.0f MiB\n", gib,
           entries, run_pages, pagecache_io_map_bytes() / (double)MiB);
    walk(entries);
    send(entries);
    start = seconds();
    pagecache_io_map_sweep(1 << 1);
    printf("sweep of both maps: %.2f s\n", seconds() - start);
    return 0;
}
