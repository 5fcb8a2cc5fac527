/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: how faults on purpose are armed and counted
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A property of the migration object for the command line, and an object at
 * the root of QOM for the monitor: qom-set arms, qom-get counts.  No command
 * of its own: QAPI's schema is the same with and without faults, so only our
 * files are compiled again when they are switched.
 */
#include "qemu/osdep.h"
#include "pagecache-hooks.h"

#ifdef CONFIG_PAGECACHE_FAULTS

#include "qemu/error-report.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qom/object.h"

#define TYPE_PAGECACHE_FAULTS   "pagecache-faults"

static char *get_armed(Object *obj, Error **errp)
{
    return pagecache_faults_armed();
}

static void set_armed(Object *obj, const char *value, Error **errp)
{
    g_autofree char *err = NULL;
    unsigned i;

    if (!pagecache_faults_arm(value, &err)) {
        error_setg(errp, "%s", err);
        return;
    }
    for (i = 0; i < PAGECACHE_FAULT__MAX; i++) {
        if (pagecache_fault_breaks(i) && pagecache_fault_is_armed(i)) {
            warn_report("skip-pagecache: fault '%s' is armed: guest memory "
                        "will be lost", pagecache_fault_name(i));
        }
    }
}

/* @opaque: not NULL: what was passed, not what fired */
static void get_counts(Object *obj, Visitor *v, const char *name,
                       void *opaque, Error **errp)
{
    unsigned i;
    bool ok = true;

    if (!visit_start_struct(v, name, NULL, 0, errp)) {
        return;
    }
    for (i = 0; ok && i < PAGECACHE_FAULT__MAX; i++) {
        uint64_t passed, fired, *count = opaque ? &passed : &fired;

        pagecache_fault_count(i, &passed, &fired);
        ok = visit_type_uint64(v, pagecache_fault_name(i), count, errp);
    }
    if (ok) {
        visit_check_struct(v, errp);
    }
    visit_end_struct(v, NULL);
}

static void pagecache_faults_class_init(ObjectClass *klass, void *data)
{
    object_class_property_add_str(klass, "armed", get_armed, set_armed);
    object_class_property_add(klass, "fired", "dict", get_counts, NULL, NULL,
                              NULL);
    object_class_property_add(klass, "passed", "dict", get_counts, NULL, NULL,
                              (void *)"passed");
}

static const TypeInfo pagecache_faults_info = {
    .name = TYPE_PAGECACHE_FAULTS,
    .parent = TYPE_OBJECT,
    .class_init = pagecache_faults_class_init,
};

static void pagecache_faults_register(void)
{
    type_register_static(&pagecache_faults_info);
}

type_init(pagecache_faults_register);

void pagecache_fault_class_init(ObjectClass *klass)
{
    object_class_property_add_str(klass, "x-pagecache-faults", get_armed,
                                  set_armed);
}

void pagecache_fault_init(void)
{
    Object *obj = object_new(TYPE_PAGECACHE_FAULTS);

    object_property_add_child(object_get_root(), TYPE_PAGECACHE_FAULTS, obj);
    object_unref(obj);
}

#endif
