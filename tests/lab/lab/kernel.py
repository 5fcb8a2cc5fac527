# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Debian kernels for the guest: image, modules and matching headers.

The one place where kernels are fetched.  A kernel is asked for by the
start of its version ('6.1', '6.12'); which package that is, is looked up
through Debian's metapackage, never written down here: in the suites of this
system first, and if they have none, in those of other releases on the same
mirror.  Everything is unpacked, not installed, below build/guest/:

    <kernelrelease>/boot/vmlinuz-<kernelrelease>
    <kernelrelease>/lib/modules/<kernelrelease>/{kernel,build,...}
    <kernelrelease>/usr/src/linux-headers-<kernelrelease>     (KDIR)
    <kernelrelease>/tools       compiler and C library, if this system's are
                                too old for the kernel's build programs
    6.1 -> <kernelrelease>

Works as any user, with a private apt configuration made from the system's
own sources; nothing of the system is changed.
"""

import collections
import fcntl
import os
import re
import shutil
import subprocess
import tempfile

from . import foreign
from .paths import GUEST_BUILD, LabError, need_tool

FLAVOUR = 'cloud-amd64'
#: those of a kernel's programs that take part when a module is built
BUILD_PROGRAMS = ('fixdep', 'modpost', 'objtool')
#: Debian's releases that a kernel is looked for in, if this system's has none
CODENAMES = ('bullseye', 'bookworm', 'trixie', 'forky', 'sid')
KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'


class Kernel(collections.namedtuple('Kernel', 'release root')):
    """An unpacked kernel: its release (uname -r) and root directory."""

    @property
    def image(self):
        return os.path.join(self.root, 'boot', 'vmlinuz-' + self.release)

    @property
    def modules(self):
        return os.path.join(self.root, 'lib/modules', self.release)

    @property
    def kdir(self):
        """What to give to `make -C guest/linux KDIR=`."""
        return os.path.join(self.root, 'usr/src',
                            'linux-headers-' + self.release)


def get(version='6.1', update=False):
    """The kernel whose version starts so, fetched if it isn't there yet."""
    if not re.fullmatch(r'\d+\.\d+', version):
        raise LabError(f"kernel version '{version}': expected one like 6.1")
    os.makedirs(GUEST_BUILD, exist_ok=True)
    with open(os.path.join(GUEST_BUILD, '.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kernel = None if update else _unpacked(version)
        if kernel is None:
            release = _fetch(version)
            link = os.path.join(GUEST_BUILD, version)
            os.symlink(release, link + '.new')
            os.replace(link + '.new', link)
            kernel = _unpacked(version)
            if kernel is None:
                raise LabError(f'{release}: the packages have no kernel image '
                               'or headers where they were expected')
    return kernel


def package(name, version):
    """
    Some package whose version starts so, of this system or another release.

    It is unpacked; the path of build/guest/<name>_<version>.
    """
    os.makedirs(GUEST_BUILD, exist_ok=True)
    with open(os.path.join(GUEST_BUILD, '.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for found in sorted(os.listdir(GUEST_BUILD)):
            if re.match(re.escape(f'{name}_{version}') + r'[.\-]', found) \
                    and not found.endswith('.new'):
                return os.path.join(GUEST_BUILD, found)
        apt = _Apt(os.path.join(GUEST_BUILD, 'apt'))
        record = _newest(apt.show(name), version)
        if record is None:
            apt.look_further()
            record = _newest(apt.show(name), version)
        if record is None:
            raise LabError(f'{name}: no version {version}.*')
        final = os.path.join(GUEST_BUILD, f'{name}_{record["Version"]}')
        shutil.rmtree(final + '.new', ignore_errors=True)
        apt.download([f'{name}={record["Version"]}'], final + '.new')
        os.rename(final + '.new', final)
    return final


def _unpacked(version):
    link = os.path.join(GUEST_BUILD, version)
    if not os.path.islink(link):
        return None
    release = os.readlink(link)
    kernel = Kernel(release, os.path.join(GUEST_BUILD, release))
    if os.path.exists(kernel.image) and os.path.isdir(kernel.kdir):
        return kernel
    return None


def _line(site, suite):
    trust = f'[signed-by={KEYRING}] ' if os.path.exists(KEYRING) else ''
    return f'deb {trust}{site} {suite} main\n'


def own_sources():
    """
    The system's Debian sources.

    Returns the archive's site, the release's codename, and lines for a
    sources.list.
    """
    done = subprocess.run(
        ['apt-get', 'indextargets', '--format',
         '$(SITE) $(RELEASE) $(COMPONENT)', 'Created-By: Packages'],
        stdout=subprocess.PIPE, text=True, check=True)
    with open('/etc/os-release') as file:
        match = re.search(r'^VERSION_CODENAME=(\w+)', file.read(), re.M)
    codename = match.group(1) if match else None
    lines, main = [], None
    for line in done.stdout.splitlines():
        site, suite, component = line.split()
        if component != 'main' or not suite.startswith(codename or '-'):
            continue
        lines.append(_line(site, suite))
        if suite == codename:
            main = site
    if main is None:
        raise LabError('no Debian suite of this system among the sources '
                       'of apt: expected one in '
                       '/etc/apt/sources.list.d/debian.sources')
    return main, codename, lines


class _Apt:
    """apt with its lists, cache and sources in a directory of ours."""

    def __init__(self, directory):
        need_tool('apt-get', 'apt')
        os.makedirs(os.path.join(directory, 'lists/partial'), exist_ok=True)
        os.makedirs(os.path.join(directory, 'archives/partial'),
                    exist_ok=True)
        self.directory = directory
        self.sources = os.path.join(directory, 'sources.list')
        options = {
            'Dir::Etc::SourceList': self.sources,
            'Dir::Etc::SourceParts': '-',
            'Dir::Etc::Preferences': '-',
            'Dir::Etc::PreferencesParts': '-',
            'Dir::State': directory,
            'Dir::State::Lists': os.path.join(directory, 'lists'),
            'Dir::State::Status': '/dev/null',
            'Dir::Cache': directory,
            'APT::Sandbox::User': '',
        }
        self.options = [w for k, v in options.items()
                        for w in ('-o', f'{k}={v}')]
        self.main, self.codename, lines = own_sources()
        backports = _line(self.main, self.codename + '-backports')
        self._update(lines if backports in lines else [*lines, backports])

    def _update(self, lines):
        with open(self.sources, 'w') as out:
            out.writelines(lines)
        self.run('apt-get', '-q', 'update')

    def look_further(self):
        """From now on, the suites of other releases that the mirror has."""
        security = self.main.rstrip('/') + '-security'
        lines = []
        for name in CODENAMES:
            if name == self.codename:
                continue
            for site, suite in ((self.main, name),
                                (self.main, name + '-backports'),
                                (security, name + '-security')):
                if self._exists(site, suite):
                    lines.append(_line(site, suite))
        self._update(lines)

    def _exists(self, site, suite):
        with tempfile.TemporaryDirectory(dir=self.directory) as work:
            try:
                self.run('/usr/lib/apt/apt-helper', 'download-file',
                         f'{site}/dists/{suite}/InRelease',
                         os.path.join(work, 'InRelease'))
            except LabError:
                return False
        return True

    def run(self, tool, *words, cwd=None):
        done = subprocess.run([tool, *self.options, *words], cwd=cwd,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise LabError(f"{tool} {' '.join(words)} failed: "
                           + (done.stderr.strip().splitlines()
                              or ['no message'])[-1])
        return done.stdout

    def show(self, package):
        """All versions of a package, as dicts of control fields."""
        records = []
        for text in self.run('apt-cache', 'show', package).split('\n\n'):
            fields = re.findall(r'^([\w-]+): (.*)$', text, re.M)
            if fields:
                records.append(dict(fields))
        return records

    def closure(self, *packages):
        """Those packages and all they need: [package=version, ...]"""
        text = self.run('apt-get', '-s', '--no-install-recommends',
                        'install', *packages)
        return [f'{name}={version}' for name, version in
                re.findall(r'^Inst (\S+) \((\S+) ', text, re.M)]

    def download(self, packages, root):
        """Fetch packages (name=version) and unpack them in root."""
        with tempfile.TemporaryDirectory(dir=self.directory) as debs:
            self.run('apt-get', '-q', 'download', *packages, cwd=debs)
            for name in sorted(os.listdir(debs)):
                subprocess.run(['dpkg-deb', '-x', os.path.join(debs, name),
                                root], check=True)

    def depends(self, record):
        """(package, exact version or None) of each first alternative."""
        found = []
        for clause in record.get('Depends', '').split(','):
            match = re.match(r'\s*([\w.+-]+)(?:\s*\(= ([^)]+)\))?', clause)
            if match:
                found.append(match.groups())
        return found


def _newest(records, prefix):
    """The record of the highest version that starts with prefix."""
    best = None
    for record in records:
        if not re.match(re.escape(prefix) + r'[.\-]', record['Version']):
            continue
        if best is None or subprocess.call(
                ['dpkg', '--compare-versions', record['Version'], 'gt',
                 best['Version']]) == 0:
            best = record
    return best


def _packages(apt, version):
    """Resolve the metapackage: (kernel release, [package=version, ...])"""
    meta = 'linux-image-' + FLAVOUR
    record = _newest(apt.show(meta), version)
    if record is None:
        raise LabError(f'{meta}: no version {version}.* among '
                       + ', '.join(r['Version'] for r in apt.show(meta)))
    image = next((p for p, _ in apt.depends(record)
                  if p.startswith('linux-image-')), None)
    if image is None:
        raise LabError(f"{meta} {record['Version']}: expected a dependency "
                       f"on linux-image-*, got '{record.get('Depends')}'")
    release = image[len('linux-image-'):]
    parts = ('linux-headers-', 'linux-kbuild-', 'linux-base-' + release,
             'linux-binary-' + release, 'linux-modules-' + release)
    wanted, todo = {}, [(image, None), ('linux-headers-' + release, None)]
    while todo:
        package, exact = todo.pop()
        if package in wanted:
            continue
        record = _newest([r for r in apt.show(package)
                          if exact in (None, r['Version'])], version)
        if record is None:
            raise LabError(f'{package} {exact or version}: not found')
        wanted[package] = record['Version']
        todo += [(p, v) for p, v in apt.depends(record)
                 if p.startswith(parts)]
    versions = {wanted[image], wanted['linux-headers-' + release]}
    if len(versions) != 1:
        raise LabError('kernel image and headers differ: '
                       + ' and '.join(sorted(versions)))
    return release, [f'{p}={v}' for p, v in wanted.items()]


def _fetch(version):
    apt = _Apt(os.path.join(GUEST_BUILD, 'apt'))
    print(f'fetching Debian kernel {version} ({FLAVOUR}) ...', flush=True)
    try:
        release, packages = _packages(apt, version)
    except LabError as here:
        apt.look_further()
        try:
            release, packages = _packages(apt, version)
        except LabError as error:
            raise LabError(f'{here}; in other releases: {error}') from error
    work = tempfile.mkdtemp(prefix='.new-', dir=GUEST_BUILD)
    try:
        root = os.path.join(work, 'root')
        apt.download(packages, root)
        _relocate(root, release)
        _make_buildable(apt, root, release)
        subprocess.run([need_tool('depmod', 'kmod'), '-b', root, release],
                       check=True)
        final = os.path.join(GUEST_BUILD, release)
        if os.path.exists(final):
            os.rename(final, os.path.join(work, 'old'))
        os.rename(root, final)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f'kernel {release} is in {os.path.join(GUEST_BUILD, release)}',
          flush=True)
    return release


def _make_buildable(apt, root, release):
    """
    Modules can be built with the headers here, whatever release they are of.

    The packages name a compiler, and hold programs that take part in the
    build.  Where these do not run here, they get the C library that they
    were made for, and the compiler comes from their release, too.
    """
    kbuild = os.path.join(root, 'usr/lib')
    kdir = os.path.join(root, 'usr/src', 'linux-headers-' + release)
    variables = os.path.join(kdir, '.kernelvariables')
    if not os.path.exists(variables):
        return
    with open(variables) as file:
        text = file.read()
    match = re.search(r'\$\(CROSS_COMPILE\)(gcc-\d+)\b', text)
    if match is None:
        raise LabError(f'{variables}: expected $(CROSS_COMPILE)gcc-N')
    compiler = match.group(1)
    programs = foreign.programs(kbuild)
    if any(not foreign.runs(path) for path in programs
           if os.path.basename(path).startswith(BUILD_PROGRAMS)):
        tools = os.path.join(root, 'tools')
        apt.download(apt.closure(compiler, *foreign.LIBRARIES), tools)
        shutil.rmtree(os.path.join(tools, 'usr/share'), ignore_errors=True)
        foreign.adopt(tools, foreign.programs(tools) + programs)
        text = ('TOOLS := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))'
                '../../../tools)\n' + text)
        found = f'$(TOOLS)/usr/bin/{foreign.MACHINE}-{compiler}'
    elif shutil.which(compiler):
        return
    else:
        found = 'gcc'
    with open(variables, 'w') as file:
        file.write(text.replace(match.group(0), found))


def _relocate(root, release):
    """Make the header tree usable where it lies instead of in /usr/src."""
    shutil.rmtree(os.path.join(root, 'usr/share'), ignore_errors=True)
    if not os.path.exists(os.path.join(root, 'lib/modules', release)):
        os.makedirs(os.path.join(root, 'lib'), exist_ok=True)
        os.rename(os.path.join(root, 'usr/lib/modules'),
                  os.path.join(root, 'lib/modules'))
    image = os.path.join(root, 'boot', 'vmlinuz-' + release)
    if not os.path.exists(image):
        os.makedirs(os.path.dirname(image), exist_ok=True)
        os.rename(os.path.join(root, 'lib/modules', release, 'vmlinuz'),
                  image)
    makefile = os.path.join(root, 'usr/src', 'linux-headers-' + release,
                            'Makefile')
    with open(makefile) as file:
        text = file.read()
    moved = re.sub(r'/usr/src/(linux-headers-)',
                   r'$(dir $(lastword $(MAKEFILE_LIST)))../\1', text)
    if moved == text and '/usr/src' in text:
        raise LabError(f'{makefile}: cannot be relocated')
    with open(makefile, 'w') as file:
        file.write(moved)
    modules = os.path.join(root, 'lib/modules', release)
    for name in ('build', 'source'):
        link = os.path.join(modules, name)
        if os.path.islink(link):
            target = os.readlink(link)
            if target.startswith('/usr/src/'):
                os.remove(link)
                os.symlink('../../..' + target, link)
