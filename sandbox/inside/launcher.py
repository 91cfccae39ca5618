"""The first process of a slot: isolates the slot, then becomes the runner or waits for it.

Runs as ``python -c`` with one JSON argument, an empty environment and nothing open but 0, 1 and 2. An
isolation level that this machine refuses ends in one HELLO frame with the reason.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from typing import Any

from sandbox.inside import kernel, node, protocol, rootfs

# -S -s -P: no site, no user site, no script folder on sys.path (this package has a module named types).
INTERPRETER_FLAGS = ("-S", "-s", "-P", "-B")
# Some modules register work for every fork; it would touch memory in each program's, for nothing (see runner.py).
BOOT = (
    "import os, sys; sys.path.insert(0, sys.argv[1]); os.register_at_fork = lambda **_: None; "
    "from sandbox.inside.{0} import main; main()"
)
_PERSONAL = kernel.NEWNS | kernel.NEWPID | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS


def main() -> None:
    """Isolate the slot as the configuration in the second argument says, then run the runner."""
    config: dict[str, Any] = json.loads(sys.argv[2])
    kernel.die_with_parent()
    if os.getppid() != config["parent"]:
        os._exit(1)
    os.umask(0o022)
    config["program"] = os.path.realpath(sys.executable)  # a virtual environment's link is not in the jail
    try:
        for procs_file in config.pop("cgroups", []):
            _write(procs_file, "0")
        if config.get("container"):
            _reserve_tmp(config["child_uid"])
            config["packages"] = rootfs.installed_packages()
            config["node"] = next(filter(os.path.exists, node.OF_AN_IMAGE), "")
        if config["level"] == "uid":
            _become_runner(config, sys.argv[1])
        _enter(config)
        inner = os.fork()
    except OSError as error:
        protocol.refuse(str(error))
    if inner:
        # The inner process alone holds the streams: the host must see them close when it dies.
        for fd in (0, 1):
            os.close(fd)
        os.waitpid(inner, 0)
        os._exit(0)
    try:
        kernel.die_with_parent()
        config["proc"] = rootfs.mount_proc()
        _become_runner(config, rootfs.RUNNER)
    except OSError as error:
        protocol.refuse(str(error))


def _become_runner(config: dict[str, Any], import_from: str) -> None:
    home = config.get("folder", "/tmp")
    environment = {
        "HOME": home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        "PYTHONHASHSEED": "0",  # a verdict must not depend on the slot
        "MALLOC_ARENA_MAX": "1",  # 64 MB of address space per thread otherwise
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "LD_BIND_NOW": "1",  # or each fork looks up by name what only forks call
    }
    if config["level"] == "uid":
        if config["node"] and not _is_public(config["node"]):
            config["node"] = ""  # JavaScript is an extra
        devices = ("/dev/zero", "/dev/urandom", "/dev/random")
        extra = rootfs.node_paths(config["node"])
        config["readable"] = [*rootfs.interpreter_paths(), *config["packages"], *extra, *devices]
        _require_public(config["readable"])
    program = config["program"]
    boot = BOOT.format("start")
    # Not as an argument: programs read those of the server that they are forks of.
    given = os.memfd_create("configuration", 0)
    os.write(given, json.dumps(config).encode())
    os.execve(program, [program, *INTERPRETER_FLAGS, "-c", boot, import_from, str(given)], environment)


def _reserve_tmp(child_uid: int) -> None:
    """Let only root and programs use /tmp of a container.

    Root without capabilities cannot give a folder away, but it can give one of its own to a group that it is in.
    """
    os.setgroups([child_uid])
    os.chown("/tmp", -1, child_uid)
    os.setgroups([])
    os.chmod("/tmp", 0o1770)


def _is_public(path: str) -> bool:
    try:
        _require_public([path])
    except OSError:
        return False
    return True


def _require_public(paths: list[str]) -> None:
    for path in paths:
        step = path
        while step != "/":
            needed = 0o5 if os.path.isdir(step) else 0o4
            if os.stat(step).st_mode & needed != needed and (step == path or not os.stat(step).st_mode & 0o1):
                raise OSError(errno.EACCES, f"the interpreter needs {path}, but other users cannot enter {step}")
            step = os.path.dirname(step)


def _enter(config: dict[str, Any]) -> None:
    package = os.path.dirname(os.path.abspath(__file__))
    if config["level"] == "jail":
        write_maps = _start_mapper(os.getpid(), config["runner_uid"], config["child_uid"])
        kernel.unshare(kernel.NEWNS)
        rootfs.build(package, [*config["packages"], *rootfs.node_paths(config["node"])])
        kernel.unshare(kernel.NEWUSER | _PERSONAL)
        write_maps()
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    else:
        uid, gid = os.getuid(), os.getgid()
        kernel.unshare(kernel.NEWUSER | _PERSONAL)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")
        rootfs.build(package, [*config["packages"], *rootfs.node_paths(config["node"])])
    socket.sethostname("sandbox")
    kernel.die_with_parent()
    if os.getppid() != config["parent"]:
        os._exit(1)


def _start_mapper(pid: int, runner_uid: int, child_uid: int) -> Any:
    """Fork a helper that stays outside and writes the id maps when the returned function is called."""
    ready_r, ready_w = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(ready_w)
        failed = 0
        if os.read(ready_r, 1):
            try:
                for name in ("gid_map", "uid_map"):
                    _write(f"/proc/{pid}/{name}", f"0 {runner_uid} 1\n{protocol.CHILD_ID} {child_uid} 1")
            except OSError as error:
                failed = error.errno or 1
        os._exit(failed)
    os.close(ready_r)

    def write_maps() -> None:
        os.write(ready_w, b"g")
        os.close(ready_w)
        code = os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1])
        if code:
            raise OSError(code, f"uid map: {os.strerror(code) if code > 0 else 'helper killed'}")

    return write_maps


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
