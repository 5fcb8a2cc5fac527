/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: no refill writes after END
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * What is outstanding at the end is sent by the channel, whose claim keeps late
 * refills away; but a page that the guest has freed meanwhile, and told the
 * balloon of, is never sent.  There END alone stands between a late refill and
 * what the guest puts into the page when it runs at the destination.
 */

#include "qemu/osdep.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-pc.h"
#include "libqos/virtio-pci.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ids.h"
#include "pagecache-test-proxy.h"

#define FOREVER         "delay-claim:ms=60000"      /* until it is disarmed */
#define TIMEOUT_US      (30 * G_USEC_PER_SEC)

#define BALLOON_SLOT    6
#define BALLOON_ARGS    "-object iothread,id=io0 " \
                        "-device virtio-balloon-pci,id=balloon,addr=0x6," \
                        "free-page-hint=on,iothread=io0"
#define FREE_PAGE_VQ    3       /* behind those for memory and statistics */

/* What the driver has in the guest's memory: bytes */
#define DRIVER_START    ZERO_START
#define DRIVER_SIZE     (1 * MiB)

/* A part of the cache: one offer, and one read */
#define FREED           64
#define FREED_PAGES     16u
#define FREED_ADDR      pct_cache_addr(FREED)
#define FREED_SIZE      (FREED_PAGES * PAGE)

typedef struct Balloon {
    QTestState *qts;
    QGuestAllocator alloc;
    QPCIBus *bus;
    QVirtioPCIDevice *dev;
    QVirtQueue *vq;             /* for free pages */
    uint64_t id;                /* guest address of a command's number */
} Balloon;

typedef struct End {
    PcTest *t;
    Balloon b;
    PctProxy *p;
    bool swallow;               /* END is lost; false: all behind it waits */
} End;

/* --- the balloon's driver --- */

static void balloon_probe(Balloon *b, QTestState *qts)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(BALLOON_SLOT, 0) };

    b->qts = qts;
    alloc_init(&b->alloc, ALLOC_NO_FLAGS, DRIVER_START,
               DRIVER_START + DRIVER_SIZE, PAGE);
    b->bus = qpci_new_pc(qts, &b->alloc);
    b->dev = virtio_pci_new(b->bus, &addr);
    g_assert_nonnull(b->dev);
    g_assert_cmpint(b->dev->vdev.device_type, ==, VIRTIO_ID_BALLOON);
    qvirtio_pci_device_enable(b->dev);
    qvirtio_start_device(&b->dev->vdev);
    qvirtio_set_features(&b->dev->vdev,
                         1ull << VIRTIO_F_VERSION_1 |
                         1ull << VIRTIO_BALLOON_F_FREE_PAGE_HINT);
    b->vq = qvirtqueue_setup(&b->dev->vdev, &b->alloc, FREE_PAGE_VQ);
    qvirtio_set_driver_ok(&b->dev->vdev);
    b->id = guest_alloc(&b->alloc, 2 * sizeof(uint32_t));
}

static void balloon_free(Balloon *b)
{
    g_free(container_of(b->vq, QVirtQueuePCI, vq));
    g_free(b->dev->pdev);
    g_free(b->dev);
    qpci_free_pc(b->bus);
    alloc_destroy(&b->alloc);
}

static uint32_t balloon_command(Balloon *b)
{
    return qvirtio_config_readl(&b->dev->vdev,
                                offsetof(struct virtio_balloon_config,
                                         free_page_hint_cmd_id));
}

static void balloon_put(Balloon *b, uint64_t addr, uint32_t len, bool pages)
{
    uint32_t head = qvirtqueue_add(b->qts, b->vq, addr, len, pages, false);

    qvirtqueue_kick(b->qts, &b->dev->vdev, b->vq, head);
}

/*
 * Tells of free pages.  A sync of the dirty log in between makes that void, and
 * is followed by another command.
 */
static void balloon_report_free(Balloon *b, uint64_t addr, uint32_t len)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    uint32_t command;
    unsigned back;

    do {
        command = balloon_command(b);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        if (command == VIRTIO_BALLOON_CMD_ID_STOP) {
            g_usleep(1000);
            continue;
        }
        qtest_writel(b->qts, b->id, command);
        qtest_writel(b->qts, b->id + 4, VIRTIO_BALLOON_CMD_ID_STOP);
        balloon_put(b, b->id, 4, false);
        balloon_put(b, addr, len, true);
        balloon_put(b, b->id + 4, 4, false);
        for (back = 0; back < 3;) {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
            back += qvirtqueue_get_buf(b->qts, b->vq, NULL, NULL);
        }
    } while (balloon_command(b) != VIRTIO_BALLOON_CMD_ID_STOP);
}

/* --- the stream --- */

static void at_end(void *opaque, GByteArray *section)
{
    End *e = opaque;

    if (pct_frame_type(section) != FRAME_END) {
        return;
    }
    if (e->swallow) {
        g_byte_array_set_size(section, 0);
    } else {
        pct_proxy_stall(e->p);
    }
}

/*
 * A guest frees pages whose refill has come as far as its claim, and no
 * further; and the migration has come to its last stage.
 */
static End *start(bool swallow)
{
    End *e = g_new0(End, 1);
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strconcat(disk, BALLOON_ARGS, NULL);

    e->t = t;
    e->swallow = swallow;
    t->machine = g_strdup("pc");
    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_on(t);
    balloon_probe(&e->b, t->src);
    pct_arm(t->dst, FOREVER);
    migrate_set_capability(t->src, "pause-before-switchover", true);
    pct_hint_cache_part(t, FREED, FREED_PAGES);
    pct_incoming(t);
    e->p = pct_proxy_new(t, at_end, NULL, e);
    pct_migrate_slowly(t);
    pct_wait_fired(t->dst, "delay-claim", 1);
    balloon_report_free(&e->b, FREED_ADDR, FREED_SIZE);
    migrate_set_parameter_int(t->src, "downtime-limit", 2000 * 1000);
    pct_full_speed(t);
    wait_for_migration_status(t->src, "pre-switchover", NULL);
    return e;
}

/* The refill goes on; all pages but the last are behind it then. */
static void refill(End *e)
{
    pct_arm(e->t->dst, "delay-claim:ms=1");
    pct_wait_fired(e->t->dst, "delay-claim", FREED_PAGES);
}

/* The freed pages, but for the last, are what they must be. */
static void check_freed(End *e)
{
    const size_t size = FREED_SIZE - PAGE;
    g_autofree uint8_t *here = g_malloc(size);

    qtest_bufread(e->t->dst, FREED_ADDR, here, size);
    g_assert_cmpint(memcmp(here, e->t->ram + FREED_ADDR, size), ==, 0);
}

static void set_freed(End *e, int byte)
{
    memset(e->t->ram + FREED_ADDR, byte, FREED_SIZE);
}

/* Besides the freed pages: what the driver has is as the source has it. */
static void finish(End *e)
{
    PcTest *t = e->t;

    qtest_bufread(t->src, DRIVER_START, t->ram + DRIVER_START, DRIVER_SIZE);
    pct_check_memory(t, t->dst);
    g_assert_cmpint(pct_figure(t->src, "offered-pages"), ==, FREED_PAGES);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 0);
    pct_proxy_free(e->p);
    balloon_free(&e->b);
    pct_free(t);
    g_free(e);
}

/* --- tests --- */

/* The refill comes to its claim after END. */
static void test_claim_after(void)
{
    End *e = start(false);

    set_freed(e, 0);
    migrate_continue(e->t->src, "pre-switchover");
    pct_wait_figure(e->t->dst, "blackout-time", 0);
    check_freed(e);
    refill(e);
    check_freed(e);
    pct_proxy_go_on(e->p);
    pct_wait_complete(e->t);
    finish(e);
}

/* END finds it between claim and copy, and waits for it. */
static void test_copy_across(void)
{
    End *e = start(false);

    set_freed(e, 0);
    pct_arm(e->t->dst, "delay-copy:ms=1500:limit=1,delay-claim:ms=1");
    pct_wait_fired(e->t->dst, "delay-copy", 1);
    migrate_continue(e->t->src, "pre-switchover");
    pct_wait_figure(e->t->dst, "blackout-time", 0);
    /* this one is copied */
    memcpy(e->t->ram + FREED_ADDR,
           e->t->disk_data + pct_cache_sector(FREED) * 512, PAGE);
    check_freed(e);
    pct_wait_fired(e->t->dst, "delay-claim", FREED_PAGES);
    check_freed(e);
    pct_proxy_go_on(e->p);
    pct_wait_complete(e->t);
    finish(e);
}

/* There was no END; what the guest has written at the destination stays. */
static void test_none(void)
{
    End *e = start(true);

    migrate_continue(e->t->src, "pre-switchover");
    pct_wait_complete(e->t);
    set_freed(e, 0);
    check_freed(e);
    set_freed(e, 0x5a);
    qtest_bufwrite(e->t->dst, FREED_ADDR, e->t->ram + FREED_ADDR, FREED_SIZE);
    refill(e);
    check_freed(e);
    finish(e);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    if (!pct_has_faults()) {
        printf("1..0 # SKIP QEMU was built without faults on purpose\n");
        return 0;
    }
    if (!qtest_has_device("virtio-balloon-pci")) {
        printf("1..0 # SKIP QEMU was built without virtio-balloon-pci\n");
        return 0;
    }
    qtest_add_func("/pagecache/end/claim-after", test_claim_after);
    qtest_add_func("/pagecache/end/copy-across", test_copy_across);
    qtest_add_func("/pagecache/end/none", test_none);
    return g_test_run();
}
