/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: -object pagecache-io-map
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "qapi/qapi-types-qom.h"
#include "qapi/visitor.h"
#include "qom/object_interfaces.h"
#include "system/runstate.h"
#include "pagecache-io-disks.h"
#include "pagecache-io-map.h"
#include "pagecache-io-object.h"

OBJECT_DECLARE_SIMPLE_TYPE(PagecacheIoMapObject, PAGECACHE_IO_MAP)

struct PagecacheIoMapObject {
    Object parent;
    bool enabled;
    int checksum;               /* PagecacheIoMapChecksum */
    VMChangeStateEntry *state;  /* complete: tracks if enabled */
};

static PagecacheIoMapObject *the_map;   /* BQL */

bool pagecache_io_object_exists(void)
{
    return the_map;
}

static void choose_checksum(PagecacheIoMapObject *map)
{
    pagecache_io_map_set_whole(map->checksum ==
                               PAGECACHE_IO_MAP_CHECKSUM_WHOLE);
}

static void track(PagecacheIoMapObject *map)
{
    if (map->enabled) {
        pagecache_io_disks_start();
    } else {
        pagecache_io_disks_stop();
        /* What comes unseen would make entries wrong. */
        pagecache_io_map_drop();
    }
}

/* A snapshot is loaded: memory and disks get other contents. */
static void state_changed(void *opaque, bool running, RunState state)
{
    if (!running && state == RUN_STATE_RESTORE_VM) {
        pagecache_io_map_drop();
    }
}

static void complete(UserCreatable *uc, Error **errp)
{
    PagecacheIoMapObject *map = PAGECACHE_IO_MAP(uc);
    const char *why_not = pagecache_io_map_why_not();

    if (why_not) {
        error_setg(errp, "There can be no " TYPE_PAGECACHE_IO_MAP ": %s",
                   why_not);
        return;
    }
    if (the_map) {
        g_autofree char *id = object_get_canonical_path(OBJECT(the_map));

        error_setg(errp, "There is a " TYPE_PAGECACHE_IO_MAP " already, %s; "
                   "one is enough for all disks", id);
        return;
    }
    the_map = map;
    map->state = qemu_add_vm_change_state_handler(state_changed, map);
    choose_checksum(map);
    track(map);
}

static bool get_enabled(Object *obj, Error **errp)
{
    return PAGECACHE_IO_MAP(obj)->enabled;
}

static void set_enabled(Object *obj, bool enabled, Error **errp)
{
    PagecacheIoMapObject *map = PAGECACHE_IO_MAP(obj);

    if (map->enabled != enabled) {
        map->enabled = enabled;
        if (map->state) {
            track(map);
        }
    }
}

static int get_checksum(Object *obj, Error **errp)
{
    return PAGECACHE_IO_MAP(obj)->checksum;
}

static void set_checksum(Object *obj, int checksum, Error **errp)
{
    PagecacheIoMapObject *map = PAGECACHE_IO_MAP(obj);

    map->checksum = checksum;
    if (map->state) {
        choose_checksum(map);
    }
}

static void get_memory(Object *obj, Visitor *v, const char *name,
                       void *opaque, Error **errp)
{
    uint64_t bytes = pagecache_io_map_bytes();

    visit_type_size(v, name, &bytes, errp);
}

static void get_disks(Object *obj, Visitor *v, const char *name,
                      void *opaque, Error **errp)
{
    uint32_t count = pagecache_io_disks_count();

    visit_type_uint32(v, name, &count, errp);
}

static void init(Object *obj)
{
    PAGECACHE_IO_MAP(obj)->enabled = true;
}

static void finalize(Object *obj)
{
    PagecacheIoMapObject *map = PAGECACHE_IO_MAP(obj);

    if (map->state) {
        qemu_del_vm_change_state_handler(map->state);
        map->enabled = false;
        track(map);
        the_map = NULL;
    }
}

static void class_init(ObjectClass *klass, void *data)
{
    USER_CREATABLE_CLASS(klass)->complete = complete;

    object_class_property_add_bool(klass, "enabled", get_enabled, set_enabled);
    object_class_property_set_description(klass, "enabled",
        "whether the guest's I/O is tracked");
    object_class_property_add_enum(klass, "checksum", "PagecacheIoMapChecksum",
                                   &PagecacheIoMapChecksum_lookup,
                                   get_checksum, set_checksum);
    object_class_property_set_description(klass, "checksum",
        "what of a page is summed: \"auto\" takes samples of large requests");
    object_class_property_add(klass, "memory", "size", get_memory, NULL, NULL,
                              NULL);
    object_class_property_set_description(klass, "memory",
        "bytes of the host's memory that the map takes");
    object_class_property_add(klass, "disks", "uint32", get_disks, NULL, NULL,
                              NULL);
    object_class_property_set_description(klass, "disks",
        "disks whose I/O is tracked");
}

static const TypeInfo info = {
    .name = TYPE_PAGECACHE_IO_MAP,
    .parent = TYPE_OBJECT,
    .instance_size = sizeof(PagecacheIoMapObject),
    .instance_init = init,
    .instance_finalize = finalize,
    .class_init = class_init,
    .interfaces = (InterfaceInfo[]) {
        { TYPE_USER_CREATABLE },
        { }
    },
};

static void register_types(void)
{
    type_register_static(&info);
}

type_init(register_types);
