/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what the guest says it has left out of its hints
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qapi/util.h"
#include "exec/target_page.h"
#include "pagecache-left-out.h"

/* Producers that come and go in one migration must not pile up */
#define TOLD_MAX 16

typedef struct Told {
    uint32_t producer;
    size_t n;
    PagecacheLeftOut list[PAGECACHE_LEFT_OUT_MAX];
} Told;

static struct {
    QemuMutex lock;
    /* of Told, in the order they came */
    GPtrArray *told[PAGECACHE_LEFT_OUT__MAX];
} left_out;

static void __attribute__((constructor)) pagecache_left_out_init(void)
{
    int i;

    qemu_mutex_init(&left_out.lock);
    for (i = 0; i < PAGECACHE_LEFT_OUT__MAX; i++) {
        left_out.told[i] = g_ptr_array_new_with_free_func(g_free);
    }
}

void pagecache_left_out_clear(PagecacheLeftOutBook book)
{
    QEMU_LOCK_GUARD(&left_out.lock);
    g_ptr_array_set_size(left_out.told[book], 0);
}

/* Called with left_out.lock held. */
static Told *find(GPtrArray *told, uint32_t producer)
{
    Told *t;
    guint i;

    for (i = 0; i < told->len; i++) {
        t = g_ptr_array_index(told, i);
        if (t->producer == producer) {
            return t;
        }
    }
    if (told->len == TOLD_MAX) {
        return NULL;
    }
    t = g_new0(Told, 1);
    t->producer = producer;
    g_ptr_array_add(told, t);
    return t;
}

/* Monitors and logs get printable ASCII, whatever the guest wrote. */
static void clean(char *name, size_t size)
{
    name[size - 1] = '\0';
    for (; *name; name++) {
        if (!g_ascii_isprint(*name)) {
            *name = '?';
        }
    }
}

void pagecache_left_out_set(PagecacheLeftOutBook book, uint32_t producer,
                            const PagecacheLeftOut *list, size_t n,
                            uint64_t max_pages)
{
    Told *t;
    size_t i;

    assert(n <= PAGECACHE_LEFT_OUT_MAX);
    QEMU_LOCK_GUARD(&left_out.lock);
    t = find(left_out.told[book], producer);
    if (!t) {
        return;
    }
    t->n = n;
    for (i = 0; i < n; i++) {
        t->list[i] = list[i];
        t->list[i].pages = MIN(list[i].pages, max_pages);
        clean(t->list[i].device, sizeof(t->list[i].device));
        clean(t->list[i].detail, sizeof(t->list[i].detail));
    }
}

static MigrationPagecacheLeftOut *to_qapi(const PagecacheLeftOut *e)
{
    MigrationPagecacheLeftOut *q = g_new0(MigrationPagecacheLeftOut, 1);

    q->device = e->device[0] ? g_strdup(e->device) : NULL;
    q->detail = e->detail[0] ? g_strdup(e->detail) : NULL;
    q->reason = e->reason;
    q->pages = e->pages >> (qemu_target_page_bits() - PAGECACHE_PAGE_BITS);
    return q;
}

bool pagecache_left_out_get(PagecacheLeftOutBook book,
                            MigrationPagecacheLeftOutList **tail)
{
    const GPtrArray *told = left_out.told[book];
    guint i;
    size_t j;

    QEMU_LOCK_GUARD(&left_out.lock);
    for (i = 0; i < told->len; i++) {
        const Told *t = g_ptr_array_index(told, i);

        for (j = 0; j < t->n; j++) {
            QAPI_LIST_APPEND(tail, to_qapi(&t->list[j]));
        }
    }
    return told->len;
}

void pagecache_left_out_info(MigrationPagecacheSource *source)
{
    source->has_left_out = pagecache_left_out_get(PAGECACHE_LEFT_OUT_MIGRATION,
                                                  &source->left_out);
}
