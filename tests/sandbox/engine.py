"""A Docker engine of the tests' own: its daemons, data and socket live in one folder and end with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import docker
import psutil
from docker.errors import DockerException

_START_S = 60.0
_STOP_S = 30.0
_POLL_S = 0.05
_NO_NETWORKS = (
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
)


class EngineError(RuntimeError):
    """The engine cannot be started; the message holds the end of its log."""


class PrivateEngine:
    """dockerd and the containerd that it starts.

    With ``networks`` they have a network namespace of their own, for bridges and rules of containers' networks.
    """

    def __init__(self, folder: Path, networks: bool = False) -> None:
        self._networks = networks
        self.url = f"unix://{folder}/docker.sock"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._drivers = ["overlay2", "vfs"]

    def start(self) -> None:
        """Raises EngineError. After :meth:`kill_daemon`, with the same images."""
        reasons = []
        for driver in self._drivers:
            try:
                self._launch(driver)
                self._drivers = [driver]  # the images are in its format now
                return
            except EngineError as error:
                reasons.append(f"{driver}: {error}")
                self.stop()
        raise EngineError("; ".join(reasons))

    @property
    def pid(self) -> int:
        """Of dockerd."""
        assert self._process is not None
        return self._process.pid

    def kill_daemon(self) -> None:
        """SIGKILL to dockerd, with which its containerd dies; the containers live on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=_STOP_S)
        self._end_containerd()

    def stop(self) -> None:
        """End both daemons and every container. Safe to call twice."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(timeout=_STOP_S)
            self._process = None
        self._end_containerd()
        self._end_shims()
        self._unmount()
        self._remove_cgroups()

    def _launch(self, driver: str) -> None:
        dockerd = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
        if dockerd is None:
            raise EngineError("dockerd is not installed")
        command = [
            dockerd,
            f"--host={self.url}",
            f"--data-root={self._folder}/data",
            f"--exec-root={self._folder}/exec",
            f"--pidfile={self._folder}/dockerd.pid",
            f"--storage-driver={driver}",
            "--exec-opt=native.cgroupdriver=cgroupfs",
            f"--cgroup-parent=/{self._folder.name}",
        ]
        if self._networks:
            command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
        else:
            command += _NO_NETWORKS
        runsc = shutil.which("runsc")
        if runsc is not None:
            command.append(f"--add-runtime=runsc={runsc}")
        (self._folder / "dockerd.pid").unlink(missing_ok=True)
        log = self._folder / "dockerd.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,  # an interrupt of the tests is not for it: they stop it in order
            )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise EngineError(" | ".join(log.read_text(errors="replace").splitlines()[-2:]))
            time.sleep(_POLL_S)

    def _answers(self) -> bool:
        try:
            client = docker.DockerClient(base_url=self.url, version="auto", timeout=5)
            client.close()
        except (DockerException, OSError):
            return False
        return True

    def _end_containerd(self) -> None:
        """Until it has ended, and without its pid file: dockerd waits for a process that nobody has reaped."""
        pid_file = self._folder / "exec/containerd/containerd.pid"
        if not pid_file.exists():
            return
        pid = int(pid_file.read_text())
        deadline = time.monotonic() + _STOP_S
        while self._is_ours(pid):
            late = time.monotonic() > deadline
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            if late:
                break
            time.sleep(_POLL_S)
        pid_file.unlink()

    def _end_shims(self) -> None:
        """Those of containers that were being made when the daemon was killed: nobody else knows of them."""
        for shim in [process for process in psutil.process_iter() if self._is_ours(process.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in (*shim.children(recursive=True), shim):
                    process.kill()

    def _is_ours(self, pid: int) -> bool:
        """The number may have been given to another process; a dead one has no command line."""
        try:
            return str(self._folder) in Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            return False

    def _remove_cgroups(self) -> None:
        """Docker leaves its containers' parent and, now and then, a container's."""
        root = Path("/sys/fs/cgroup")
        for parent in (root / self._folder.name, *root.glob(f"*/{self._folder.name}")):
            for path in (*parent.glob("*/"), parent):
                with contextlib.suppress(OSError):
                    path.rmdir()

    def _unmount(self) -> None:
        """What containers left mounted would keep the folder from being removed."""
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for path in reversed([path for path in mounts if path.startswith(f"{self._folder}/")]):
            subprocess.run(["umount", "--lazy", path], check=False, capture_output=True, timeout=_STOP_S)
