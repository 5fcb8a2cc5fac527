/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: a guest with a balloon
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The guest frees pages of its cache in the middle of a migration.  It gives
 * them to the balloon, and they are zero without having been written; or it
 * tells the balloon of them (free page hinting), and QEMU takes them for sent.
 *
 * The latter are what END is for.  What is outstanding at the end is sent by
 * the channel, whose claim keeps late refills away; but there END alone stands
 * between a late refill and what the guest puts into the page when it runs at
 * the destination.
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-pc.h"
#include "libqos/virtio-pci.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ids.h"
#include "pagecache-test-proxy.h"

#define TIMEOUT_US      (120 * G_USEC_PER_SEC)

#define BALLOON_SLOT    6
#define BALLOON_ARGS    "-object iothread,id=io0 " \
                        "-device virtio-balloon-pci,id=balloon,addr=0x6," \
                        "free-page-hint=on,iothread=io0"
#define INFLATE_VQ      0
#define FREE_PAGE_VQ    3       /* behind those for deflation and statistics */

/* What the driver has in the guest's memory: bytes */
#define DRIVER_START    ZERO_START
#define DRIVER_SIZE     (1 * MiB)

/* What is freed, and stands on the disk as well: one offer, and one read */
#define FREED_ADDR      (ZERO_START + 2 * MiB)
#define FREED_PAGES     16u
#define FREED_SIZE      (FREED_PAGES * PAGE)
#define FREED_SECTOR    (10 * MiB / 512)

typedef struct Balloon {
    QTestState *qts;
    QGuestAllocator alloc;
    QPCIBus *bus;
    QVirtioPCIDevice *dev;
    QVirtQueue *inflate, *free_page;
    uint64_t buffer;            /* guest address */
} Balloon;

typedef struct Guest {
    PcTest *t;
    Balloon b;
    PctProxy *p;
    enum { PASS, STALL_BEHIND, SWALLOW } end;   /* what becomes of END */
} Guest;

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
    b->inflate = qvirtqueue_setup(&b->dev->vdev, &b->alloc, INFLATE_VQ);
    b->free_page = qvirtqueue_setup(&b->dev->vdev, &b->alloc, FREE_PAGE_VQ);
    qvirtio_set_driver_ok(&b->dev->vdev);
    b->buffer = guest_alloc(&b->alloc, PAGE);
}

static void balloon_free(Balloon *b)
{
    g_free(container_of(b->inflate, QVirtQueuePCI, vq));
    g_free(container_of(b->free_page, QVirtQueuePCI, vq));
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

static void balloon_put(Balloon *b, QVirtQueue *vq, uint64_t addr,
                        uint32_t len, bool writable)
{
    uint32_t head = qvirtqueue_add(b->qts, vq, addr, len, writable, false);

    qvirtqueue_kick(b->qts, &b->dev->vdev, vq, head);
}

/* Waits for @n buffers to be returned. */
static void balloon_wait(Balloon *b, QVirtQueue *vq, unsigned n)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (n) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        n -= qvirtqueue_get_buf(b->qts, vq, NULL, NULL);
    }
}

static void balloon_inflate(Balloon *b, uint64_t addr, unsigned pages)
{
    unsigned i;

    for (i = 0; i < pages; i++) {
        qtest_writel(b->qts, b->buffer + 4 * i,
                     (addr >> VIRTIO_BALLOON_PFN_SHIFT) + i);
    }
    balloon_put(b, b->inflate, b->buffer, 4 * pages, false);
    balloon_wait(b, b->inflate, 1);
}

/*
 * Tells of free pages.  A sync of the dirty log in between makes that void, and
 * is followed by another command.
 */
static void balloon_tell_free(Balloon *b, uint64_t addr, uint32_t len)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    uint32_t command;

    do {
        while ((command = balloon_command(b)) == VIRTIO_BALLOON_CMD_ID_STOP) {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
            g_usleep(1000);
        }
        qtest_writel(b->qts, b->buffer, command);
        qtest_writel(b->qts, b->buffer + 4, VIRTIO_BALLOON_CMD_ID_STOP);
        balloon_put(b, b->free_page, b->buffer, 4, false);
        balloon_put(b, b->free_page, addr, len, true);
        balloon_put(b, b->free_page, b->buffer + 4, 4, false);
        balloon_wait(b, b->free_page, 3);
    } while (balloon_command(b) != VIRTIO_BALLOON_CMD_ID_STOP);
}

/* --- the guest --- */

static void at_end(void *opaque, GByteArray *section)
{
    Guest *g = opaque;

    if (pct_frame_type(section) != FRAME_END) {
        return;
    }
    if (g->end == SWALLOW) {
        g_byte_array_set_size(section, 0);
    } else if (g->end == STALL_BEHIND) {
        pct_proxy_stall(g->p);
    }
}

/* Its migration may begin. */
static Guest *guest_new(void)
{
    Guest *g = g_new0(Guest, 1);
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strconcat(disk, BALLOON_ARGS, NULL);

    g->t = t;
    t->machine = g_strdup("pc");
    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_on(t);
    pct_write(t, FREED_ADDR, t->disk_data + FREED_SECTOR * 512, FREED_SIZE);
    balloon_probe(&g->b, t->src);
    pct_incoming(t);
    g->p = pct_proxy_new(t, at_end, NULL, g);
    return g;
}

/*
 * What the device has written for the driver is right as it is.  It goes on to
 * do so, in its iothread: flags of a ring say whether it wants to be notified.
 */
static void take_driver(Guest *g)
{
    pct_learn(g->t, DRIVER_START, DRIVER_SIZE);
}

/* All is over: figures of the source, and memory of the destination */
static void guest_finish(Guest *g, int64_t offered, int64_t proven)
{
    PcTest *t = g->t;

    take_driver(g);
    pct_check_memory(t, t->dst);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "offered-pages"), ==, offered);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, proven);
    pct_proxy_free(g->p);
    balloon_free(&g->b);
    pct_free(t);
    g_free(g);
}

static void complete(Guest *g)
{
    pct_full_speed(g->t);
    pct_wait_complete(g->t);
}

static void hint(Guest *g)
{
    pct_hint(g->t, "blk0", FREED_ADDR, FREED_SECTOR, FREED_PAGES);
}

/* What the pages must be from now on, without a write */
static void set_freed(Guest *g, int byte)
{
    memset(g->t->ram + FREED_ADDR, byte, FREED_SIZE);
}

static void tell_free(Guest *g)
{
    balloon_tell_free(&g->b, FREED_ADDR, FREED_SIZE);
}

static void inflate(Guest *g)
{
    balloon_inflate(&g->b, FREED_ADDR, FREED_PAGES);
}

/* The window is full of other pages. */
static void reach_pooled(Guest *g)
{
    pct_proxy_hold(g->p, true);
    pct_hint_cache(g->t);
    pct_migrate_slowly(g->t);
    pct_wait_figure(g->t->dst, "reported-pages", CACHE_PAGES);
    hint(g);
    pct_wait_figure(g->t->src, "pooled-pages", FREED_PAGES);
    g_assert_cmpint(pct_figure(g->t->src, "offered-pages"), ==, CACHE_PAGES);
}

/* They are refilled, and the reports on their way. */
static void reach_in_flight(Guest *g)
{
    pct_proxy_hold(g->p, true);
    hint(g);
    pct_migrate_slowly(g->t);
    pct_wait_figure(g->t->dst, "reported-pages", FREED_PAGES);
    g_assert_cmpint(pct_figure(g->t->src, "in-flight-pages"), ==,
                    FREED_PAGES);
}

/* --- free pages --- */

/* They count as sent: there is nothing to be offered. */
static void test_free_pooled(void)
{
    Guest *g = guest_new();

    reach_pooled(g);
    tell_free(g);
    pct_proxy_hold(g->p, false);
    pct_wait_figure(g->t->src, "proven-pages", CACHE_PAGES);
    complete(g);
    set_freed(g, 0);
    guest_finish(g, CACHE_PAGES, CACHE_PAGES);
}

/* The guest takes them for something else. */
static void test_free_pooled_used_again(void)
{
    Guest *g = guest_new();

    reach_pooled(g);
    tell_free(g);
    pct_scribble(g->t, FREED_ADDR, FREED_PAGES);
    pct_proxy_hold(g->p, false);
    pct_wait_figure(g->t->src, "proven-pages", CACHE_PAGES);
    complete(g);
    guest_finish(g, pct_figure(g->t->src, "offered-pages"), CACHE_PAGES);
}

/* There is nothing to be proven any more. */
static void test_free_in_flight(const void *used_again)
{
    Guest *g = guest_new();

    reach_in_flight(g);
    tell_free(g);
    if (used_again) {
        pct_scribble(g->t, FREED_ADDR, FREED_PAGES);
    }
    pct_proxy_hold(g->p, false);
    pct_wait_figure(g->t->src, "reported-pages", FREED_PAGES);
    complete(g);
    guest_finish(g, FREED_PAGES, 0);
}

/* --- pages in the balloon --- */

/* A zero page is not offered. */
static void test_inflated_pooled(void)
{
    Guest *g = guest_new();

    reach_pooled(g);
    inflate(g);
    set_freed(g, 0);
    pct_proxy_hold(g->p, false);
    pct_wait_figure(g->t->src, "released-pages", FREED_PAGES);
    complete(g);
    guest_finish(g, CACHE_PAGES, CACHE_PAGES);
}

/* They differ from what was refilled. */
static void test_inflated_in_flight(void)
{
    Guest *g = guest_new();

    reach_in_flight(g);
    inflate(g);
    set_freed(g, 0);
    pct_proxy_hold(g->p, false);
    pct_wait_figure(g->t->src, "mismatched-pages", FREED_PAGES);
    complete(g);
    guest_finish(g, FREED_PAGES, 0);
}

/* As when they have been sent: the destination has what they held before. */
static void test_inflated_after_proof(void)
{
    Guest *g = guest_new();
    uint8_t here[FREED_SIZE];

    hint(g);
    pct_migrate_slowly(g->t);
    pct_wait_figure(g->t->src, "proven-pages", FREED_PAGES);
    inflate(g);
    complete(g);
    qtest_bufread(g->t->src, FREED_ADDR, here, FREED_SIZE);
    g_assert_true(buffer_is_zero(here, FREED_SIZE));
    guest_finish(g, FREED_PAGES, FREED_PAGES);
}

/* --- END --- */

/*
 * A guest frees pages whose refill has come as far as its claim, and no
 * further; and the migration has come to its last stage.
 */
static Guest *reach_end(int end)
{
    Guest *g = guest_new();
    PcTest *t = g->t;

    g->end = end;
    pct_arm(t->dst, "delay-claim:ms=60000");
    migrate_set_capability(t->src, "pause-before-switchover", true);
    hint(g);
    pct_migrate_slowly(t);
    pct_wait_fired(t->dst, "delay-claim", 1);
    tell_free(g);
    migrate_set_parameter_int(t->src, "downtime-limit", 2000 * 1000);
    pct_full_speed(t);
    wait_for_migration_status(t->src, "pre-switchover", NULL);
    set_freed(g, 0);
    return g;
}

static void load_end(Guest *g)
{
    migrate_continue(g->t->src, "pre-switchover");
    pct_wait_figure(g->t->dst, "blackout-time", 0);
}

/* The refill goes on; all pages but the last are behind it then. */
static void refill(Guest *g)
{
    pct_arm(g->t->dst, "delay-claim:ms=1");
    pct_wait_fired(g->t->dst, "delay-claim", FREED_PAGES);
}

/* At the destination, all but the last are what they must be. */
static void check_freed(Guest *g)
{
    const size_t size = FREED_SIZE - PAGE;
    g_autofree uint8_t *here = g_malloc(size);

    qtest_bufread(g->t->dst, FREED_ADDR, here, size);
    g_assert_cmpint(memcmp(here, g->t->ram + FREED_ADDR, size), ==, 0);
}

/* The refill comes to its claim after END. */
static void test_claim_after_end(void)
{
    Guest *g = reach_end(STALL_BEHIND);

    load_end(g);
    check_freed(g);
    refill(g);
    check_freed(g);
    pct_proxy_go_on(g->p);
    pct_wait_complete(g->t);
    guest_finish(g, FREED_PAGES, 0);
}

/* END finds it between claim and copy, and waits for it. */
static void test_copy_across_end(void)
{
    Guest *g = reach_end(STALL_BEHIND);

    pct_arm(g->t->dst, "delay-copy:ms=1500:limit=1,delay-claim:ms=1");
    pct_wait_fired(g->t->dst, "delay-copy", 1);
    load_end(g);
    /* this one is copied */
    memcpy(g->t->ram + FREED_ADDR, g->t->disk_data + FREED_SECTOR * 512, PAGE);
    check_freed(g);
    pct_wait_fired(g->t->dst, "delay-claim", FREED_PAGES);
    check_freed(g);
    pct_proxy_go_on(g->p);
    pct_wait_complete(g->t);
    guest_finish(g, FREED_PAGES, 0);
}

/* There was no END; what the guest has written at the destination stays. */
static void test_no_end(void)
{
    Guest *g = reach_end(SWALLOW);

    migrate_continue(g->t->src, "pre-switchover");
    pct_wait_complete(g->t);
    check_freed(g);
    set_freed(g, 0x5a);
    qtest_bufwrite(g->t->dst, FREED_ADDR, g->t->ram + FREED_ADDR, FREED_SIZE);
    refill(g);
    check_freed(g);
    guest_finish(g, FREED_PAGES, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    if (!qtest_has_device("virtio-balloon-pci")) {
        printf("1..0 # SKIP QEMU was built without virtio-balloon-pci\n");
        return 0;
    }
    qtest_add_func("/pagecache/balloon/free/pooled", test_free_pooled);
    qtest_add_func("/pagecache/balloon/free/pooled-used-again",
                   test_free_pooled_used_again);
    qtest_add_data_func("/pagecache/balloon/free/in-flight", NULL,
                        test_free_in_flight);
    qtest_add_data_func("/pagecache/balloon/free/in-flight-used-again", "",
                        test_free_in_flight);
    qtest_add_func("/pagecache/balloon/inflated/pooled", test_inflated_pooled);
    qtest_add_func("/pagecache/balloon/inflated/in-flight",
                   test_inflated_in_flight);
    qtest_add_func("/pagecache/balloon/inflated/after-proof",
                   test_inflated_after_proof);
    if (pct_has_faults()) {
        qtest_add_func("/pagecache/balloon/end/claim-after",
                       test_claim_after_end);
        qtest_add_func("/pagecache/balloon/end/copy-across",
                       test_copy_across_end);
        qtest_add_func("/pagecache/balloon/end/none", test_no_end);
    }
    return g_test_run();
}
