/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: how the image of a guest's disk is reached by libnbd
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * With the server, export and TLS credentials of the guest's own disk, or not
 * at all: what libnbd can't be told is an error, never left out.
 */

#include "qemu/osdep.h"
#include "block/qdict.h"
#include "crypto/tlscredspsk.h"
#include "crypto/tlscredsx509.h"
#include "qapi/error.h"
#include "pagecache-reader-spec.h"

/* As in block/nbd.c and crypto/tlscredspsk.c */
#define NBD_PORT    "10809"
#define PSK_USER    "qemu"

static char *object_text(Object *obj, const char *name)
{
    return object_property_get_str(obj, name, NULL);
}

/*
 * libnbd verifies that the server's certificate is for the name that it has
 * connected to.  Where there is none, such as with a UNIX socket, it does not
 * verify the certificate at all.
 */
static bool set_x509(PagecacheReaderSpec *spec, Object *creds,
                     const char *hostname, Error **errp)
{
    const char *id = object_get_canonical_path_component(creds);
    g_autofree char *password = object_text(creds, "passwordid");

    if (password && *password) {
        error_setg(errp, "the key of the TLS credentials '%s' needs a "
                   "password, which libnbd can't be told", id);
        return false;
    }
    spec->u.nbd.tls = PAGECACHE_NBD_X509;
    spec->u.nbd.tls_verify = object_property_get_bool(creds, "verify-peer",
                                                      NULL);
    if (spec->u.nbd.tls_verify && spec->u.nbd.path) {
        error_setg(errp, "libnbd can't verify the certificate of a server on "
                   "a UNIX socket");
        return false;
    }
    if (spec->u.nbd.tls_verify && hostname &&
        strcmp(hostname, spec->u.nbd.host)) {
        error_setg(errp, "libnbd can't verify that the certificate of server "
                   "'%s' is for '%s' (tls-hostname)", spec->u.nbd.host,
                   hostname);
        return false;
    }
    return true;
}

static bool set_psk(PagecacheReaderSpec *spec, Object *creds)
{
    spec->u.nbd.tls = PAGECACHE_NBD_PSK;
    spec->u.nbd.tls_user = object_text(creds, "username");
    if (!spec->u.nbd.tls_user || !*spec->u.nbd.tls_user) {
        g_free(spec->u.nbd.tls_user);
        spec->u.nbd.tls_user = g_strdup(PSK_USER);
    }
    return true;
}

static bool set_tls(PagecacheReaderSpec *spec, const char *id,
                    const char *hostname, Error **errp)
{
    Object *creds = object_resolve_path_component(object_get_objects_root(),
                                                  id);
    g_autofree char *priority = NULL;

    if (!creds || !object_dynamic_cast(creds, TYPE_QCRYPTO_TLS_CREDS)) {
        error_setg(errp, "the TLS credentials '%s' are gone", id);
        return false;
    }
    priority = object_text(creds, "priority");
    if (priority && *priority) {
        error_setg(errp, "the TLS credentials '%s' have a priority, which "
                   "libnbd can't be told", id);
        return false;
    }
    spec->u.nbd.tls_dir = object_text(creds, "dir");
    if (spec->u.nbd.tls_dir &&
        object_dynamic_cast(creds, TYPE_QCRYPTO_TLS_CREDS_X509)) {
        return set_x509(spec, creds, hostname, errp);
    }
    if (spec->u.nbd.tls_dir &&
        object_dynamic_cast(creds, TYPE_QCRYPTO_TLS_CREDS_PSK)) {
        return set_psk(spec, creds);
    }
    error_setg(errp, "the TLS credentials '%s' are of type %s, libnbd takes "
               "tls-creds-x509 and tls-creds-psk", id,
               object_get_typename(creds));
    return false;
}

static bool set_server(PagecacheReaderSpec *spec, const QDict *options,
                       Error **errp)
{
    static const char *const known[] = {
        "driver", "server.type", "server.host", "server.port", "server.path",
        /* nothing to a client, or to those who only read now and then */
        "server.to", "server.keep-alive", "server.mptcp", "server.numeric",
        "host", "port", "path", "export", "tls-creds", "tls-hostname", NULL
    };
    const char *unknown = option_unknown(options, known);
    g_autofree char *type = option_text(options, "server.type");
    char *port;

    if (type && strcmp(type, "inet") && strcmp(type, "unix")) {
        error_setg(errp, "the NBD server's address is of type '%s', libnbd "
                   "is told of inet and unix", type);
        return false;
    }
    if (unknown) {
        error_setg(errp, "libnbd can't be told of the NBD disk's option '%s'",
                   unknown);
        return false;
    }
    spec->u.nbd.path = option_text(options, "server.path") ?:
                       option_text(options, "path");
    if (spec->u.nbd.path) {
        return true;
    }
    spec->u.nbd.host = option_text(options, "server.host") ?:
                       option_text(options, "host");
    port = option_text(options, "server.port") ?: option_text(options, "port");
    spec->u.nbd.port = port ?: g_strdup(NBD_PORT);
    if (!spec->u.nbd.host) {
        error_setg(errp, "the NBD disk does not tell its server");
        return false;
    }
    return true;
}

PagecacheReaderSpec *pcr_nbd_spec_new(const QDict *node_options, Error **errp)
{
    g_autoptr(QDict) options = qdict_clone_shallow(node_options);
    PagecacheReaderSpec *spec;
    g_autofree char *creds = NULL, *hostname = NULL;

    if (!pagecache_reader_nbd_ops) {
        error_setg(errp, "this QEMU was built without libnbd");
        return NULL;
    }
    qdict_flatten(options);
    creds = option_text(options, "tls-creds");
    hostname = option_text(options, "tls-hostname");
    spec = pagecache_reader_spec_alloc(pagecache_reader_nbd_ops);
    if (!set_server(spec, options, errp) ||
        (creds && !set_tls(spec, creds, hostname, errp))) {
        pagecache_reader_spec_free(spec);
        return NULL;
    }
    spec->u.nbd.export = option_text(options, "export") ?: g_strdup("");
    spec->name = spec->u.nbd.path ?
        g_strdup_printf("nbd+unix:///%s?socket=%s", spec->u.nbd.export,
                        spec->u.nbd.path) :
        g_strdup_printf("nbd://%s:%s/%s", spec->u.nbd.host, spec->u.nbd.port,
                        spec->u.nbd.export);
    return spec;
}
