/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: hints from tests and tools, by x-pagecache-add-hints
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Hints are kept until x-pagecache-clear-hints, and handed to each migration
 * that wants some.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-pagecache.h"
#include "hw/qdev-core.h"
#include "pagecache-hints.h"
#include "pagecache-hooks.h"

#define STAGED_MAX      (4 * 1024 * 1024)       /* hints */
#define RETRY_MS        10

typedef struct StagedHint {
    PagecacheHint hint;
    const char *ram_block;      /* interned; NULL: gpa is an address */
} StagedHint;

/* All of it under the BQL */
static struct {
    PagecacheProducer *producer;
    GArray *staged;             /* of StagedHint */
    GHashTable *names;          /* set of RAM block names */
    guint delivered;            /* of staged, to the collection under way */
    uint32_t epoch;             /* 0: none is under way */
    QEMUTimer *timer;
} test;

/* Delivers in slices, from a timer, so that the main loop goes on. */
static void deliver(void *opaque)
{
    PagecacheVerdict verdict = PAGECACHE_MORE;
    unsigned slice = 16 * PAGECACHE_BATCH_MAX;

    while (test.epoch && test.delivered < test.staged->len && slice--) {
        StagedHint *s = &g_array_index(test.staged, StagedHint, test.delivered);

        if (s->ram_block) {
            verdict = pagecache_producer_block_hint(test.producer, test.epoch,
                                                    s->ram_block, &s->hint);
        } else {
            verdict = pagecache_producer_hints(test.producer, test.epoch,
                                               &s->hint, 1);
        }
        if (verdict == PAGECACHE_STOP) {
            test.epoch = 0;
        }
        if (verdict != PAGECACHE_MORE) {
            break;
        }
        test.delivered++;
    }
    if (test.epoch && test.delivered < test.staged->len) {
        timer_mod(test.timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                             (verdict == PAGECACHE_BUSY ? RETRY_MS : 0));
    }
}

static void collect(void *opaque, uint32_t epoch)
{
    test.epoch = epoch;
    test.delivered = 0;
    deliver(NULL);
}

static void stop(void *opaque)
{
    test.epoch = 0;
    timer_del(test.timer);
}

static bool busy(void *opaque)
{
    return test.epoch && test.delivered < test.staged->len;
}

static const PagecacheProducerOps ops = {
    .name = "qmp",
    .collect = collect,
    .stop = stop,
    .busy = busy,
};

void pagecache_test_hints_init(void)
{
    test.staged = g_array_new(FALSE, FALSE, sizeof(StagedHint));
    test.names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    test.timer = timer_new_ms(QEMU_CLOCK_REALTIME, deliver, NULL);
    test.producer = pagecache_producer_register(&ops, NULL);
}

/*
 * Does the user call @dev so?  The id of virtio-blk-pci is that of the proxy,
 * which owns the device that has the disk.
 */
static bool disk_is_called(DeviceState *dev, const char *name)
{
    Object *obj = OBJECT(dev);

    for (; object_dynamic_cast(obj, TYPE_DEVICE); obj = obj->parent) {
        g_autofree char *path = object_get_canonical_path(obj);

        if (!g_strcmp0(DEVICE(obj)->id, name) || !g_strcmp0(path, name)) {
            return true;
        }
    }
    return false;
}

/* The index of the disk that the user calls @device, or -1 */
static int find_disk(const char *device, Error **errp)
{
    unsigned i, n = pagecache_disks_refresh();

    for (i = 0; i < n; i++) {
        const PagecacheDisk *d = pagecache_disk_get(i);

        if (!strcmp(d->path, device) ||
            (d->dev && disk_is_called(d->dev, device))) {
            return i;
        }
    }
    error_setg(errp, "Device '%s' is no disk with a medium", device);
    return -1;
}

/* What one command brings: all of it is taken, or nothing */
typedef struct Staging {
    GArray *hints;              /* of StagedHint */
    char *device;               /* of the last hint; the next has it, too */
    int disk;
} Staging;

static bool stage(Staging *st, const char *device, const char *ram_block,
                  uint64_t address, uint64_t sector, uint32_t pages,
                  Error **errp)
{
    StagedHint s = {
        .hint = { .gpa = address, .sector = sector, .npages = pages },
    };

    if (g_strcmp0(st->device, device)) {
        st->disk = find_disk(device, errp);
        if (st->disk < 0) {
            return false;
        }
        g_free(st->device);
        st->device = g_strdup(device);
    }
    if (test.staged->len + st->hints->len >= STAGED_MAX) {
        error_setg(errp, "More than %d hints", STAGED_MAX);
        return false;
    }
    s.hint.disk = st->disk;
    if (ram_block) {
        if (!g_hash_table_contains(test.names, ram_block)) {
            g_hash_table_add(test.names, g_strdup(ram_block));
        }
        g_hash_table_lookup_extended(test.names, ram_block,
                                     (gpointer *)&s.ram_block, NULL);
    }
    g_array_append_val(st->hints, s);
    return true;
}

/* "device address sector pages [ram-block]" */
static bool stage_line(Staging *st, char *line, const char *where,
                       Error **errp)
{
    char *fields[6] = { NULL };
    char *p = strchr(line, '#'), *save = NULL;
    uint64_t address, sector, pages;
    int n = 0;

    if (p) {
        *p = '\0';
    }
    for (p = strtok_r(line, " \t\r", &save); p && n < 6;
         p = strtok_r(NULL, " \t\r", &save)) {
        fields[n++] = p;
    }
    if (!n) {
        return true;
    }
    if (n < 4 || n > 5 ||
        qemu_strtou64(fields[1], NULL, 0, &address) ||
        qemu_strtou64(fields[2], NULL, 0, &sector) ||
        qemu_strtou64(fields[3], NULL, 0, &pages) || pages > UINT32_MAX) {
        error_setg(errp, "%s: expected 'device address sector pages "
                   "[ram-block]', got %d fields or a bad number", where, n);
        return false;
    }
    if (!stage(st, fields[0], fields[4], address, sector, pages, errp)) {
        error_prepend(errp, "%s: ", where);
        return false;
    }
    return true;
}

static bool stage_file(Staging *st, const char *filename, Error **errp)
{
    g_autoptr(GError) gerr = NULL;
    g_autofree char *text = NULL;
    char *line, *next;
    unsigned nr = 0;

    if (!g_file_get_contents(filename, &text, NULL, &gerr)) {
        error_setg(errp, "Can't read the hints: %s", gerr->message);
        return false;
    }
    for (line = text; line; line = next) {
        g_autofree char *where = g_strdup_printf("%s:%u", filename, ++nr);

        next = strchr(line, '\n');
        if (next) {
            *next++ = '\0';
        }
        if (!stage_line(st, line, where, errp)) {
            return false;
        }
    }
    return true;
}

static bool stage_all(Staging *st, PagecacheHintRangeList *list,
                      const char *filename, Error **errp)
{
    for (; list; list = list->next) {
        PagecacheHintRange *r = list->value;

        if (!stage(st, r->device, r->ram_block, r->address, r->sector,
                   r->pages, errp)) {
            return false;
        }
    }
    return !filename || stage_file(st, filename, errp);
}

void qmp_x_pagecache_add_hints(bool has_hints, PagecacheHintRangeList *list,
                               const char *filename, Error **errp)
{
    ERRP_GUARD();
    Staging st = {
        .hints = g_array_new(FALSE, FALSE, sizeof(StagedHint)),
    };

    if (!has_hints && !filename) {
        error_setg(errp, "Expected 'hints' or 'filename', got neither");
    } else if (stage_all(&st, list, filename, errp)) {
        g_array_append_vals(test.staged, st.hints->data, st.hints->len);
        deliver(NULL);
    }
    g_array_unref(st.hints);
    g_free(st.device);
}

void qmp_x_pagecache_clear_hints(Error **errp)
{
    test.epoch = 0;
    timer_del(test.timer);
    g_array_set_size(test.staged, 0);
    g_hash_table_remove_all(test.names);
}
