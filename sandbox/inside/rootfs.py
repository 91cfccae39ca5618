"""The file system a jailed program sees: its interpreter, read-only, and nothing else of the machine.

Everything keeps its own path inside a fresh tmpfs, so an interpreter under a private home directory works:
the directories above it are new ones, and every uid may cross them.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path

from sandbox.inside import kernel

RUNNER = "/couplet"  # the folder that the runner imports from
PACKAGE = "sandbox/inside"  # below it: this package, the only code of ours that a program can see
_STAGING = "/sys"  # mounted over in a private namespace; nothing we bind can live below it
_NODE_MODULES = "/usr/share/nodejs"
_DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = {"shm": "/tmp", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_QUIET = kernel.MS_NOSUID | kernel.MS_NODEV


def interpreter_paths() -> list[str]:
    """List what this interpreter needs: itself, its standard library and the system's shared libraries."""
    stdlib = sysconfig.get_path("stdlib")
    wanted = [os.path.realpath(sys.executable), stdlib, sysconfig.get_path("platstdlib")]
    own_lib = os.path.join(sys.base_prefix, "lib")
    if sys.base_prefix != "/usr":
        wanted.append(own_lib)
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    triplets = [f"/usr/lib/{multiarch}", f"/lib/{multiarch}"] if multiarch else []
    if not any(os.path.isdir(path) for path in triplets):
        triplets = ["/usr/lib", "/lib"]
    wanted += [*triplets, "/usr/lib64", "/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo", "/usr/lib/locale"]
    found: list[str] = []
    for path in sorted({os.path.realpath(path) for path in wanted if os.path.exists(path)}):
        if not any(path == other or path.startswith(other + "/") for other in found):
            found.append(path)
    return found


def site_packages() -> list[str]:
    """List folders of installed packages in the standard library, which a jailed program sees empty."""
    stdlib = os.path.realpath(sysconfig.get_path("stdlib"))
    candidates = [os.path.join(stdlib, name) for name in ("site-packages", "dist-packages")]
    return [path for path in candidates if os.path.isdir(path)]


def installed_packages() -> list[str]:
    """List the folders of packages that this interpreter would import from, had it been started with its site."""
    return [path for path in site.getsitepackages() if os.path.isdir(path)]


def node_paths(program: str) -> list[str]:
    """List what Node needs beside the system's libraries: itself and, from Debian, its own modules."""
    return [path for path in (program, _NODE_MODULES) if program and os.path.exists(path)]


def build(package: str, beside: list[str]) -> None:
    """Build the jail's root file system and make it the root of this process.

    ``package`` is the folder of this package on the machine, ``beside`` are the paths that programs see beside
    the interpreter's.
    Needs a mount namespace of its own and CAP_SYS_ADMIN in it; raises OSError naming the mount that failed.
    """
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("root", _STAGING, "tmpfs", _QUIET, "size=1m,nr_inodes=1k,mode=0755")
    for path in interpreter_paths():
        _bind(path, _STAGING + path)
    for path in site_packages():
        if os.path.isdir(_STAGING + path):
            kernel.mount("none", _STAGING + path, "tmpfs", _QUIET | kernel.MS_RDONLY, "size=4k,mode=0755")
    for path in beside:
        _bind(path, _STAGING + path)
    for name in ("lib", "lib64", "bin"):
        if os.path.islink("/" + name) and not os.path.lexists(f"{_STAGING}/{name}"):
            os.symlink(os.readlink("/" + name), f"{_STAGING}/{name}")
    _bind(package, f"{_STAGING}{RUNNER}/{PACKAGE}")
    for name in _DEVICES:
        _bind(f"/dev/{name}", f"{_STAGING}/dev/{name}", device=True)
    for name, target in _LINKS.items():
        os.symlink(target, f"{_STAGING}/dev/{name}")
    os.mkdir(f"{_STAGING}/tmp")
    os.mkdir(f"{_STAGING}/proc")
    # A new procfs may be mounted only where an old one can still be seen; it ends up underneath.
    kernel.mount("/proc", f"{_STAGING}/proc", None, kernel.MS_BIND | kernel.MS_REC)
    os.chdir(_STAGING)
    kernel.pivot_root(".", ".")
    kernel.detach(".")
    os.chdir("/")
    kernel.mount("none", "/", None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | _QUIET)


def mount_proc() -> bool:
    """Mount procfs of this PID namespace, or an empty folder where that is refused; return whether it worked.

    In it a process sees itself, and no other that it may not trace.
    """
    flags = _QUIET | kernel.MS_NOEXEC
    try:
        kernel.mount("proc", "/proc", "proc", flags, "subset=pid,hidepid=ptraceable")
    except OSError:
        kernel.mount("none", "/proc", "tmpfs", flags | kernel.MS_RDONLY, "size=4k,mode=0755")
        return False
    return True


def _bind(source: str, target: str, device: bool = False) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).touch()
    try:
        kernel.mount(source, target, None, kernel.MS_BIND)
    except OSError:
        # In a user namespace a folder with mounts below it can only be bound together with them.
        kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)
    flags = kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_NOSUID
    if not device:
        flags |= kernel.MS_RDONLY | kernel.MS_NODEV
    if os.statvfs(target).f_flag & os.ST_NOEXEC:
        flags |= kernel.MS_NOEXEC
    kernel.mount("none", target, None, flags)
