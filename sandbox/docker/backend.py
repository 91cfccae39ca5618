"""The docker backend: a pool of warm containers on Docker or Podman, each with the same runner as a jail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from sandbox import self_test
from sandbox.cancellation import Cancellation
from sandbox.docker import owner
from sandbox.docker.engine import ENGINE_ERRORS, connect
from sandbox.docker.image import ensure_image
from sandbox.docker.slot import ContainerOptions, DockerSlot
from sandbox.link import START_S, SlotError
from sandbox.pool import SlotPool
from sandbox.types import Budget, CaseRun, Limits, Program, SandboxUnavailable


class DockerSandbox(SlotPool):
    """Implements :class:`sandbox.types.Sandbox`.

    ``base_url``: the engine's socket (default: DOCKER_HOST, or Docker's usual one). ``image``: see
    :func:`sandbox.docker.image.ensure_image`. ``runtime``: another than the engine's default, such as ``runsc``.
    ``memory_mb``: the most that a program's limits may allow it. ``preload``: modules of the image to import once,
    before any program runs. Raises SandboxUnavailable with the remedy.
    """

    def __init__(
        self,
        slots: int = 1,
        *,
        base_url: str | None = None,
        image: str | None = None,
        runtime: str | None = None,
        memory_mb: int = 1024,
        preload: Sequence[str] = (),
        slot_wait_s: float = 600.0,
    ) -> None:
        super().__init__(lambda: self._spare.take(), slots, slot_wait_s=slot_wait_s)
        self._memory_mb, self._runtime = memory_mb, runtime
        self._engine = connect(base_url, runtime)
        try:
            owner.remove_orphans(self._engine)
            self._image = ensure_image(self._engine, image)
            options = ContainerOptions(self._image, memory_mb, runtime, tuple(preload))
            first = _checked(DockerSlot(self._engine, options))
        except SandboxUnavailable:
            self._engine.client.close()
            raise
        except (*ENGINE_ERRORS, SlotError) as error:
            self._engine.client.close()
            raise SandboxUnavailable(f"no container can be started: {error}") from error
        self._facts = {key: value for key, value in first.hello.items() if key != "level"}
        self._spare = SpareSlot(lambda: DockerSlot(self._engine, options), first)

    def run(
        self,
        program: Program,
        limits: Limits,
        *,
        stop_on: Callable[[CaseRun], bool] | None = None,
        budget: Budget | None = None,
        cancellation: Cancellation | None = None,
    ) -> list[CaseRun]:
        """Run a program as every sandbox does. Raises ValueError for limits above those of the containers."""
        if limits.memory_mb > self._memory_mb:
            raise ValueError(
                f"limit memory_mb is {limits.memory_mb}, but the containers were started for {self._memory_mb}: "
                "give the sandbox a larger memory_mb"
            )
        return super().run(program, limits, stop_on=stop_on, budget=budget, cancellation=cancellation)

    def close(self) -> None:
        super().close()
        self._spare.close()
        self._engine.client.close()

    def describe(self) -> dict[str, Any]:
        return {
            "backend": "docker",
            "level": "container",
            **super().describe(),
            "engine": f"{self._engine.name} {self._engine.version}",
            "engine_security": list(self._engine.security),
            "runtime": self._runtime or "default",
            "spare_ready": self._spare.ready,
            "image": self._image,
            **self._facts,
        }


class SpareSlot:
    """Keeps one slot started in advance, so that a broken one is replaced without waiting for a start."""

    def __init__(self, start: Callable[[], DockerSlot], first: DockerSlot) -> None:
        self._start = start
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox-spare")
        self._spare: Future[DockerSlot] | None = Future()
        self._spare.set_result(first)

    def take(self) -> DockerSlot:
        """Take the spare slot and start the next one. Raises SlotError when none starts. Not thread-safe."""
        slot = self._alive_spare() or self._start()
        if self._spare is None:
            self._spare = self._starter.submit(self._start)
        return slot

    @property
    def ready(self) -> bool:
        """Whether a spare slot is started and alive."""
        spare = self._spare
        if spare is None or not spare.done() or spare.cancelled() or spare.exception() is not None:
            return False
        return spare.result().is_quiet

    def close(self) -> None:
        self._starter.shutdown(wait=True, cancel_futures=True)
        if self._spare is not None and not self._spare.cancelled() and self._spare.exception() is None:
            self._spare.result().kill()

    def _alive_spare(self) -> DockerSlot | None:
        if self._spare is None:
            return None
        try:
            slot = self._spare.result(timeout=START_S)
        except TimeoutError:
            return None  # still on its way, for the next caller
        except SlotError:
            self._spare = None
            return None
        self._spare = None
        if slot.is_quiet:
            return slot
        slot.kill()
        return None


def _checked(slot: DockerSlot) -> DockerSlot:
    try:
        self_test.check(slot)
    except SlotError:
        slot.kill()
        raise
    return slot
