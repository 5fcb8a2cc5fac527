/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing target: the queues of virtio-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The input is a program: a driver that sends messages and requests, a
 * migration that wants hints and takes them, and what can happen to both.  The
 * device's timers run when the program says so.
 *
 * What the queue of hints holds is checked, and in a tame program (one that
 * writes its rings as a driver does, whatever the messages say) that it is
 * what was sent: in order, once, of the collection that is wanted.  At the end
 * of each input the next driver must find the device in order.
 */
#include "qemu/osdep.h"

#include "exec/cpu-common.h"
#include "hw/virtio/virtio-pagecache.h"
#include "io/channel-buffer.h"
#include "migration/misc.h"
#include "migration/vmstate.h"
#include "qemu/pagecache-fault.h"
#include "migration/pagecache-hints.h"
#include "migration/qemu-file.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"
#include "system/runstate.h"
#include "tests/qtest/libqtest.h"
#include "tests/qtest/libqos/malloc-pc.h"
#include "tests/qtest/libqos/pci-pc.h"
#include "tests/qtest/libqos/virtio-pci.h"
#include "fuzz.h"
#include "virtio_pagecache_fuzz.h"

/* Each byte of an input is an operation or a part of one. */
#define MAX_OPS         200
/* More runs of the timers than all that fits into a queue can need */
#define MAX_RUNS        64
/* What the device promises of one iteration of the main loop */
#define RUN_BUFFERS     16
#define STREAM_GOES_ON  256
/* It takes long */
#define MAX_SAVES       2

PcFuzz fz;

/* --- the input --- */

/* The next @n bytes as a number; 0 when the input is used up */
uint64_t pcfuzz_take(unsigned n)
{
    uint64_t v = 0;

    while (n--) {
        v <<= 8;
        if (fz.left) {
            v |= *fz.in++;
            fz.left--;
        }
    }
    return v;
}

/* --- the device --- */

static bool running(void)
{
    return runstate_is_running();
}

static bool ready(void)
{
    return running() && !fz.vdev->broken &&
           (fz.vdev->status & VIRTIO_CONFIG_S_DRIVER_OK);
}

/* What holds whenever the device rests */
static void check_device(void)
{
    VirtIOPagecache *dev = fz.dev;

    g_assert_cmpuint(dev->nhints, <=, PAGECACHE_BATCH_MAX);
    g_assert_true(dev->epoch || !dev->nhints);
    g_assert_true(fz.wanted || !dev->epoch);
    pcfuzz_check_left_out(false);
    if (dev->epoch && dev->epoch != fz.epoch) {
        /* a number is not used a second time */
        g_assert_cmpuint(dev->epoch, >, fz.epoch);
        fz.epoch = dev->epoch;
    }
}

static void run_timer(QEMUTimer *timer, unsigned q)
{
    uint16_t before = virtio_queue_get_last_avail_idx(fz.vdev, q);
    uint16_t taken;

    if (!timer_pending(timer)) {
        return;
    }
    timer_del(timer);
    timer->cb(timer->opaque);
    taken = virtio_queue_get_last_avail_idx(fz.vdev, q) - before;
    g_assert_cmpuint(taken, <=, running() ? RUN_BUFFERS : 0);
    check_device();
}

static void run_timers(void)
{
    run_timer(fz.dev->ctrl_timer, VIRTIO_PAGECACHE_VQ_CTRL);
    run_timer(fz.dev->hint_timer, VIRTIO_PAGECACHE_VQ_HINT);
    pcfuzz_check_returned();
}

/* Until the device has nothing to do any more, or is held up */
static void settle(void)
{
    unsigned i;

    for (i = 0; i < MAX_RUNS && (timer_pending(fz.dev->ctrl_timer) ||
                                 timer_pending(fz.dev->hint_timer)); i++) {
        run_timers();
    }
}

/* The device was told of all that is there.  Nothing may be left. */
static void check_all_served(void)
{
    unsigned q;

    for (q = 0; q < VIRTIO_PAGECACHE_VQ_MAX && !fz.wild; q++) {
        pcfuzz_kick(q);
    }
    settle();
    if (ready() && !fz.wild && !fz.held_up) {
        for (q = 0; q < VIRTIO_PAGECACHE_VQ_MAX; q++) {
            g_assert_cmpuint(fz.ring[q].returned, ==, fz.ring[q].avail);
        }
    }
}

/* --- who wants the hints --- */

static void take_hints(void)
{
    PagecacheQueuedHint got[64];
    unsigned i, n;

    while ((n = pagecache_hints_take(got, G_N_ELEMENTS(got)))) {
        for (i = 0; i < n; i++) {
            pcfuzz_check_hint(&got[i]);
        }
    }
}

/* What the driver reads */
static void check_config(void)
{
    g_assert_cmpuint(qvirtio_config_readl(fz.d, offsetof(
        struct virtio_pagecache_config, epoch)), ==, fz.dev->epoch);
    g_assert_cmpuint(qvirtio_config_readl(fz.d, offsetof(
        struct virtio_pagecache_config, max_hints)), ==, PAGECACHE_BATCH_MAX);
}

static void want_none(void)
{
    take_hints();
    pagecache_hints_stop();
    fz.wanted = false;
    check_device();
    g_assert_cmpuint(fz.dev->epoch, ==, 0);
    check_config();
    take_hints();
}

static uint8_t read_isr(void)
{
    return qpci_io_readb(fz.pci->pdev, fz.pci->bar, fz.pci->isr_cfg_offset);
}

static void want_hints(void)
{
    bool can_listen = ready() && !fz.held_up;

    read_isr();
    fz.wanted = true;
    pagecache_left_out_clear(PAGECACHE_LEFT_OUT_MIGRATION);
    pagecache_hints_start(fz.disks, G_N_ELEMENTS(fz.disks));
    check_device();
    g_assert_cmpuint(fz.dev->epoch, !=, 0);
    check_config();
    if (can_listen) {
        g_assert_cmphex(read_isr() & 2, ==, 2);
    }
}

static void want(void)
{
    static const uint64_t sectors[] = { 8, 0, 4096, 1ULL << 54 };
    uint8_t how = pcfuzz_take(1);
    unsigned i;

    want_none();
    for (i = 0; i < G_N_ELEMENTS(fz.disks); i++) {
        fz.disks[i].present = !(how & 1 << i);
        fz.disks[i].sectors = sectors[(i + (how >> 4)) % 4] + (how >> 6);
    }
    want_hints();
}

/* --- what happens to the machine --- */

static void stop_or_go(void)
{
    if (running()) {
        vm_stop(RUN_STATE_PAUSED);
    } else {
        vm_start();
    }
    check_device();
}

/* As when a snapshot is taken and loaded. */
static void save_and_load(void)
{
    QIOChannelBuffer *to = qio_channel_buffer_new(4096);
    QIOChannelBuffer *from;
    QEMUFile *f = qemu_file_new_output(QIO_CHANNEL(to));
    const VMStateDescription *vmsd = DEVICE_GET_CLASS(fz.dev)->vmsd;
    bool was_running = running();
    uint64_t features;
    int ret;

    if (was_running) {
        vm_stop(RUN_STATE_PAUSED);
    }
    take_hints();
    features = fz.vdev->guest_features;
    vmstate_save_state(f, vmsd, fz.dev, NULL);
    g_assert_cmphex(fz.vdev->guest_features, ==, features);
    qemu_fflush(f);
    /* more of the machine would follow, and is looked for */
    from = qio_channel_buffer_new(to->usage + STREAM_GOES_ON);
    memcpy(from->data, to->data, to->usage);
    memset(from->data + to->usage, 0, STREAM_GOES_ON);
    from->usage = to->usage + STREAM_GOES_ON;
    qemu_fclose(f);
    object_unref(OBJECT(to));

    virtio_reset(fz.vdev);
    f = qemu_file_new_input(QIO_CHANNEL(from));
    ret = vmstate_load_state(f, vmsd, fz.dev, 1);
    qemu_fclose(f);
    object_unref(OBJECT(from));
    /* what is wrong with the rings is found out here */
    g_assert_true(!ret || fz.wild);
    g_assert_true(ret || fz.vdev->guest_features == features);
    if (was_running) {
        vm_start();
    }
    if (ret) {
        pcfuzz_probe(0);
    }
    check_device();
}

static void fault(void)
{
    static const char *const faults[] = {
        "", "busy-map", "stop-map", "stall-device", "lose-announce",
    };
    unsigned i = pcfuzz_take(1) % G_N_ELEMENTS(faults);

#ifdef CONFIG_PAGECACHE_FAULTS
    g_assert_true(pagecache_faults_arm(faults[i], NULL));
    fz.held_up = i;
#endif
}

/* --- one input --- */

static void operation(uint8_t op)
{
    switch (op % 16) {
    case 0 ... 2:
        pcfuzz_put_hints();
        break;
    case 3:
        if (op & 16) {
            pcfuzz_put_left_out();
        } else {
            pcfuzz_put_end();
        }
        break;
    case 4:
        pcfuzz_put_request();
        break;
    case 5:
        pcfuzz_put_raw();
        break;
    case 6:
        pcfuzz_kick(VIRTIO_PAGECACHE_VQ_HINT);
        run_timers();
        break;
    case 7:
        pcfuzz_kick(VIRTIO_PAGECACHE_VQ_CTRL);
        run_timers();
        break;
    case 8:
        check_all_served();
        break;
    case 9:
        want();
        break;
    case 10:
        want_none();
        break;
    case 11:
        take_hints();
        break;
    case 12:
        take_hints();
        pcfuzz_probe(pcfuzz_take(1));
        check_device();
        break;
    case 13:
        if (op >> 4) {
            stop_or_go();
        } else if (fz.saves++ < MAX_SAVES) {
            save_and_load();
        }
        break;
    case 14:
        if (op & 16) {
            pagecache_hints_refuse(op >> 5);
        } else {
            fault();
        }
        break;
    case 15:
        if (fz.wild) {
            pcfuzz_poke();
        } else {
            /* as if that many messages of other epochs had come */
            fz.dev->stale = 4 * VIRTQUEUE_MAX_SIZE;
        }
        break;
    }
}

/* Whatever the guest did, the next driver's hint arrives, and it alone. */
static void check_next_driver(void)
{
    PagecacheHint hint = { .gpa = 16 * MiB, .sector = 64, .npages = 2 };
    PagecacheHintStats stats;

    fz.left = 0;
    want_none();
#ifdef CONFIG_PAGECACHE_FAULTS
    pagecache_faults_arm("", NULL);
    fz.held_up = false;
#endif
    if (!running()) {
        vm_start();
    }
    fz.wild = false;
    pcfuzz_probe(0);
    fz.disks[0] = (PagecacheHintDisk) { .present = true, .sectors = 4096 };
    want_hints();
    pcfuzz_put_good(&hint);
    check_all_served();
    pagecache_hints_stats(&stats);
    g_assert_cmpuint(stats.hinted, ==, 2);
    g_assert_cmpuint(stats.dropped, ==, 0);
    g_assert_cmpint(stats.map_ms, >=, 0);
    pcfuzz_check_left_out(true);
    take_hints();
    g_assert_cmpuint(fz.matched, ==, 1);
    want_none();
    settle();
}

static void virtio_pagecache_fuzz(QTestState *s, const unsigned char *data,
                                  size_t size)
{
    static unsigned inputs;
    unsigned i;

    fz.in = data;
    fz.left = size;
    /* each input begins with the same device */
    fz.dev->last_epoch = 0;
    fz.epoch = 0;
    fz.saves = 0;
    fz.wild = pcfuzz_take(1) & 1;
    pcfuzz_probe(pcfuzz_take(1));
    for (i = 0; i < MAX_OPS && fz.left; i++) {
        operation(pcfuzz_take(1));
    }
    check_all_served();
    check_next_driver();
    flush_events(s);
    if (!(++inputs % 32)) {
        drain_call_rcu();
    }
}

/* --- the machine --- */

static GString *virtio_pagecache_cmdline(FuzzTarget *t)
{
    return g_string_new(TARGET_NAME
        " -display none -machine accel=qtest -machine pc -nodefaults"
        " -m " stringify(PCFUZZ_RAM_MIB)
        " -device virtio-pagecache-pci,addr=4,ioeventfd=off"
        " -blockdev null-co,node-name=n0,size=1073741824"
        " -blockdev null-co,node-name=n1,size=4096,read-only=on"
        " -device virtio-blk-pci,drive=n0,addr=5,serial=0123456789abcdef0123"
        " -device virtio-scsi-pci,addr=6 -device scsi-hd,drive=n1,serial=two");
}

static void virtio_pagecache_pre_fuzz(QTestState *s)
{
    static QGuestAllocator alloc;
    QPCIAddress addr = { .devfn = QPCI_DEVFN(4, 0) };
    unsigned q;

    fz.qts = s;
    fz.dev = VIRTIO_PAGECACHE(object_resolve_path_type("",
                                        TYPE_VIRTIO_PAGECACHE, NULL));
    fz.vdev = VIRTIO_DEVICE(fz.dev);
    fz.sent = g_array_new(false, false, sizeof(PcFuzzSent));
    pc_alloc_init(&alloc, s, ALLOC_NO_FLAGS);
    fz.pci = virtio_pci_new(qpci_new_pc(s, &alloc), &addr);
    fz.d = &fz.pci->vdev;
    qvirtio_pci_device_enable(fz.pci);
    qvirtio_start_device(fz.d);
    qvirtio_set_features(fz.d, 1ULL << VIRTIO_F_VERSION_1);
    for (q = 0; q < VIRTIO_PAGECACHE_VQ_MAX; q++) {
        fz.vq[q] = qvirtqueue_setup(fz.d, &alloc, q);
    }
}

static void register_virtio_pagecache_fuzz_target(void)
{
    fuzz_add_target(&(FuzzTarget) {
        .name = "virtio-pagecache-fuzz",
        .description = "Fuzz the queues of virtio-pagecache, with a migration "
                       "that wants hints",
        .get_init_cmdline = virtio_pagecache_cmdline,
        .pre_fuzz = virtio_pagecache_pre_fuzz,
        .fuzz = virtio_pagecache_fuzz,
    });
}

fuzz_target_init(register_virtio_pagecache_fuzz_target);
