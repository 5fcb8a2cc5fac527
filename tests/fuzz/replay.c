/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Feed a fuzzing target the files of its corpus
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * One test a corpus, and one that the target takes every prefix of each file.
 * REPLAY_CORPUS is the directory, REPLAY_NAME the target's name.
 */
#include "qemu/osdep.h"
#include "fuzz.h"

static void feed(bool prefixes)
{
    g_autoptr(GDir) dir = g_dir_open(REPLAY_CORPUS, 0, NULL);
    const char *name;
    unsigned files = 0;

    g_assert_nonnull(dir);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(REPLAY_CORPUS, name, NULL);
        g_autofree char *data = NULL;
        size_t size, n;

        g_assert_true(g_file_get_contents(path, &data, &size, NULL));
        for (n = prefixes ? 0 : size; n <= size; n++) {
            /* Its own allocation: a sanitizer sees each byte too far. */
            g_autofree uint8_t *copy = g_memdup2(data, n);

            LLVMFuzzerTestOneInput(copy, n);
        }
        files++;
    }
    g_assert_cmpint(files, >, 0);
}

static void test_corpus(void)
{
    feed(false);
}

static void test_prefixes(void)
{
    feed(true);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fuzz/" REPLAY_NAME "/corpus", test_corpus);
    g_test_add_func("/fuzz/" REPLAY_NAME "/prefixes", test_prefixes);
    return g_test_run();
}
