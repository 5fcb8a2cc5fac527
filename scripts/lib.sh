# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Helpers shared by the scripts in this directory.  Source it first:
#
#   . "$(dirname "$0")/lib.sh"
#
# It sets TOP (the project's root) and BUILD (everything we make lives there).

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
BUILD=$TOP/build
PYTHON=${PYTHON:-/usr/bin/python3}
JOBS=${JOBS:-$(nproc)}
export LC_ALL=C.UTF-8
# shellcheck disable=SC2034  # used by the scripts that source this file
QEMU_SERIES=10.0                # the QEMU release series we patch
PATCHES=$TOP/patches/$QEMU_SERIES

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
    say "error: $*"
    exit 1
}

# usage STATUS: print the comment block at the top of the running script
usage() {
    awk 'NR > 2 && !/^#/ { exit } NR > 3 { sub(/^# ?/, ""); print }' "$0"
    exit "$1"
}

# need_tool COMMAND WHAT-TO-DO
need_tool() {
    command -v "$1" >/dev/null || die "$1 is missing: $2"
}

# run_logged LOG WHAT COMMAND...: quiet; if it fails, one line with WHAT and
# the first error in the log
run_logged() {
    local log=$1 what=$2 error
    shift 2
    mkdir -p "$(dirname "$log")"
    "$@" >"$log" 2>&1 </dev/null || {
        error=$(grep -m 1 -E '^E: |[Ee]rror: |ERROR:|^fatal: ' "$log" ||
                tail -n 1 "$log")
        die "$what: ${error#E: } (see ${log#"$TOP/"})"
    }
}

# lock NAME: hold build/NAME.lock until this script ends.  A script called by
# the holder (SPC_LOCKS in its environment) passes.
lock() {
    case " ${SPC_LOCKS:-} " in *" $1 "*) return 0 ;; esac
    mkdir -p "$BUILD"
    local fd
    exec {fd}>"$BUILD/$1.lock"
    if ! flock -n "$fd"; then
        say "waiting for another run that holds build/$1.lock"
        flock "$fd"
    fi
    export SPC_LOCKS="${SPC_LOCKS:-} $1"
}

# project_files [REGEX]: our files whose path matches, those that git does not
# know yet among them; a tree without git is listed as it stands
project_files() {
    local file
    if [ -e "$TOP/.git" ]; then
        # the checkout may belong to somebody else (containers)
        git -C "$TOP" -c safe.directory='*' ls-files --cached --others \
            --exclude-standard
    else
        (cd "$TOP" && find . -path ./build -prune -o -type f -printf '%P\n')
    fi | sort -u | grep -E "${1:-.}" | while read -r file; do
        [ ! -f "$TOP/$file" ] || echo "$file"
    done
}

# packages_of GROUP...: the package names, one a line
packages_of() {
    local group
    for group; do
        sed -n "s/^$group://p" "$TOP/scripts/packages"
    done | tr -s ' ' '\n' | sed '/^$/d' | sort -u
}

# need_packages GROUP...: install what is missing (root), or say how
need_packages() {
    local want have missing
    want=$(packages_of "$@")
    if ! command -v dpkg-query >/dev/null; then
        say "not a Debian system; expected to be there:" "${want//$'\n'/ }"
        return 0
    fi
    have=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' |
           sed -n 's/^.i  *//p' | sort -u)
    missing=$(comm -23 <(echo "$want") <(echo "$have") | xargs)
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        die "packages are missing; type: sudo apt-get install" \
            "--no-install-recommends $missing"
    fi
    lock packages
    say "installing $missing"
    local apt="apt-get -y --no-install-recommends -o DPkg::Lock::Timeout=300"
    # shellcheck disable=SC2086  # word splitting is meant here
    if ! DEBIAN_FRONTEND=noninteractive $apt install $missing \
            >"$BUILD/packages.log" 2>&1 </dev/null; then
        # empty or outdated package lists: refresh them and try once more
        run_logged "$BUILD/packages.log" \
            "apt-get update failed; check the network and repeat" apt-get update
        run_logged "$BUILD/packages.log" \
            "packages could not be installed; try: apt-get install $missing" \
            env DEBIAN_FRONTEND=noninteractive $apt install $missing
    fi
}

# want_packages GROUP...: the same, but where they can't be had we go on; what
# wants them skips
want_packages() {
    (need_packages "$@") || say "going on without"
}

# debian_source FIELD: URIs, Suites or Signed-By of this system's first
# Debian source (read only; deb822 or the old one-line format)
debian_source() {
    local f=/etc/apt/sources.list.d/debian.sources
    if [ -r "$f" ]; then
        awk -v f="$1:" '/^$/ { exit } $1 == f { print $2; exit }' "$f"
        return
    fi
    f=/etc/apt/sources.list
    [ -r "$f" ] || return 0
    sed -n '/cdrom:/d; s/^deb *\(\[[^]]*\] *\)\{0,1\}//p' "$f" | awk -v f="$1" '
        f == "URIs" { print $1 } f == "Suites" { print $2 }
        f == "Signed-By" {
            print "/usr/share/keyrings/debian-archive-keyring.gpg" }
        { exit }'
}

# private_apt NAME TYPE SUITE: an apt configuration of our own in
# build/apt/NAME, its lists freshly fetched; sets the array APT to the command
private_apt() {
    local name=$1 type=$2 suite=$3 dir=$BUILD/apt/$1 uri key
    need_tool apt-get "without apt, give the QEMU source with QEMU_SRC=DIR"
    uri=$(debian_source URIs)
    key=$(debian_source Signed-By)
    [ -n "$uri" ] || die "no Debian source found in /etc/apt (looked in" \
        "sources.list.d/debian.sources and sources.list)"
    mkdir -p "$dir"/lists/partial "$dir"/cache/archives/partial
    printf '%s\n' "Types: $type" "URIs: $uri" "Suites: $suite" \
        "Components: main" "Signed-By: $key" >"$dir/$name.sources"
    APT=(apt-get -q -o "Dir::Etc::sourcelist=$dir/$name.sources"
         -o Dir::Etc::sourceparts=- -o "Dir::State::Lists=$dir/lists"
         -o "Dir::Cache=$dir/cache" -o APT::Sandbox::User=root)
    run_logged "$dir/update.log" \
        "no package lists of $suite; check the network and repeat" \
        "${APT[@]}" -o APT::Update::Error-Mode=any update
}

# source_package NAME SUITE VERSION DIR HINT: the newest of Debian's source
# packages whose version matches the glob, its patches applied, in DIR; HINT
# says what to do if there is none
source_package() {
    local name=$1 suite=$2 version=$3 dir=$4 hint=$5 log dsc
    log=$BUILD/download/$name.log
    private_apt "$name" deb-src "$suite"
    mkdir -p "$BUILD/download"
    (cd "$BUILD/download" &&
        run_logged "$log" "the source of $name did not come; $hint" \
            "${APT[@]}" source --download-only "$name")
    dsc=$(find "$BUILD/download" -name "${name}_$version.dsc" | sort -V |
          tail -n 1)
    [ -n "$dsc" ] || die "$suite has no $name $version; $hint"
    rm -rf "$dir" "$dir.part"
    run_logged "$log" "unpacking $dsc failed" \
        dpkg-source --no-check -x "$dsc" "$dir.part"
    mv "$dir.part" "$dir"
}

# meson_tools: QEMU wants meson >= 1.5; an older system gets its backport,
# unpacked in build/tools
meson_tools() {
    local need=1.5 have tools=$BUILD/tools
    have=$(PATH=/usr/bin:/bin meson --version 2>/dev/null || echo 0)
    if [ "$(printf '%s\n' $need "$have" | sort -V | head -n 1)" != $need ]; then
        if [ ! -e "$tools/.done" ]; then
            local suite
            suite=$(debian_source Suites)-backports
            say "meson $have is too old; fetching the one of $suite"
            private_apt meson deb "$suite"
            mkdir -p "$tools"
            (cd "$tools" && run_logged "$BUILD/apt/meson/fetch.log" \
                "meson did not come from $suite; repeat, or install meson >= $need" \
                "${APT[@]}" download meson python3-pycotap)
            local deb
            for deb in "$tools"/*.deb; do
                dpkg-deb -x "$deb" "$tools"
            done
            touch "$tools/.done"
        fi
        export PATH=$tools/usr/bin:$PATH
        export PYTHONPATH=$tools/usr/lib/python3/dist-packages
    fi
}

# manifest_files laid-in|kept-out: the files of scripts/manifest, relative to
# TOP, one a line
manifest_files() (
    shopt -s nullglob globstar
    declare -A laid=() out=()
    cd "$TOP"
    while read -r line; do
        case $line in '' | '#'* | '['*) continue ;; esac
        pattern=${line#!}
        case $pattern in
        *[*?[]*) ;;
        *) [ -f "$pattern" ] || die "scripts/manifest names $pattern," \
               "which is not there" ;;
        esac
        for file in $pattern; do
            if [ "$line" = "$pattern" ]; then
                laid[$file]=1
            else
                unset "laid[$file]"
                out[$file]=1
            fi
        done
    done <"${SPC_MANIFEST:-scripts/manifest}"
    if [ "$1" = laid-in ]; then
        [ ${#laid[@]} = 0 ] || printf '%s\n' "${!laid[@]}" | sort
    else
        [ ${#out[@]} = 0 ] || printf '%s\n' "${!out[@]}" | sort
    fi
)

# our_qtests: ninja's names of the qtests that we lay in, one a line
our_qtests() {
    local tests
    tests=$(manifest_files laid-in |
            sed -n 's|^\(tests/qtest/.*-test\)\.c$|\1|p')
    [ -n "$tests" ] || die "the manifest has no tests/qtest/*-test.c"
    echo "$tests"
}

# patch_names: the series without comments
patch_names() {
    sed 's/#.*//; s/[[:space:]]*$//; /^$/d' "$PATCHES/series"
}

# touched_by FILE...: the paths that patches change, add or remove
touched_by() {
    sed -n 's/^--- a\///p; s/^+++ b\///p' "$@" | sed 's/\t.*//' | sort -u
}

# patched_files: every path that a patch of the series touches
patched_files() (
    cd "$PATCHES"
    mapfile -t names < <(patch_names)
    touched_by "${names[@]}"
)

# export_fusefile: one file as two hosts see it, for qtests; those who want it
# skip without
export_fusefile() {
    PAGECACHE_FUSEFILE=$("$TOP/tests/tools/build-fusefile") ||
        PAGECACHE_FUSEFILE=
    export PAGECACHE_FUSEFILE
}

# tap_run NAME COMMAND...: run one program that speaks TAP and print its
# results under that name; tap_end: print the plan over all of them.  A
# program that fails without saying which test, or that runs none, is a
# failed test itself.
TAP_TESTS=0
TAP_STATUS=0
tap_run() {
    local name=$1 line status=0 seen=0 failed=0 out
    shift
    mkdir -p "$BUILD/check"
    out=$(mktemp "$BUILD/check/tap.XXXXXX")
    # the plan is made over all programs; the rest passes through
    while read -r line; do
        case $line in
        'ok '*) ;;
        'not ok '*) failed=1 ;;
        1..0*) line="ok - # SKIP ${line#*[Ss][Kk][Ii][Pp] }" ;;
        1..*) continue ;;
        'Bail out'*) line="not ok - $line" failed=1 ;;
        *) echo "# ${line#\# }"; continue ;;
        esac
        seen=$((seen + 1))
        sed -E "s|^((not )?ok) *[0-9]* *(- )?|\1 - $name: |" <<<"$line"
    done < <("$@" </dev/null || echo $? >"$out")
    [ ! -s "$out" ] || status=$(cat "$out")
    rm -f "$out"
    if [ "$status" != 0 ] && [ $failed = 0 ]; then
        echo "not ok - $name: exit status $status"
        failed=1 seen=$((seen + 1))
    elif [ $seen = 0 ]; then
        echo "not ok - $name: ran no test"
        failed=1 seen=1
    fi
    TAP_TESTS=$((TAP_TESTS + seen))
    [ $failed = 0 ] || TAP_STATUS=1
}

# tap_start NAME COMMAND...: the same beside others, as many at once as there
# are processors, up to four; then tap_wait.  What one says on stderr is told
# when it has failed.
TAP_STARTED=()
tap_start() {
    while [ "$(jobs -rp | wc -l)" -ge $((JOBS < 4 ? JOBS : 4)) ]; do
        wait -n || true
    done
    mkdir -p "$BUILD/check"
    rm -f "$BUILD/check/$1.tests"
    (
        # shellcheck disable=SC2030  # tap_wait gets them from a file
        TAP_TESTS=0 TAP_STATUS=0 SECONDS=0
        tap_run "$@" 2>"$BUILD/check/$1.err"
        [ $TAP_STATUS = 0 ] || sed "s|^|$1: |" "$BUILD/check/$1.err" >&2
        rm -f "$BUILD/check/$1.err"
        echo "# $1: $SECONDS s"
        echo "$TAP_TESTS $TAP_STATUS" >"$BUILD/check/$1.tests"
    ) &
    TAP_STARTED+=("$1")
}

tap_wait() {
    local name tests status
    wait
    for name in "${TAP_STARTED[@]}"; do
        read -r tests status <"$BUILD/check/$name.tests" ||
            die "$name came to no end"
        rm -f "$BUILD/check/$name.tests"
        # shellcheck disable=SC2031  # this is the right one
        TAP_TESTS=$((TAP_TESTS + tests))
        [ "$status" = 0 ] || TAP_STATUS=1
    done
    TAP_STARTED=()
}

tap_end() {
    echo "1..$TAP_TESTS"
    exit $TAP_STATUS
}
