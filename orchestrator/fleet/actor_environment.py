"""The environment of all actors."""

from __future__ import annotations

#: Memory that actors free and take again in every step stays theirs: on small machines page faults cost more than
#: the arithmetic. One arena, because actors work in threads and glibc keeps large blocks in its main arena alone.
#: Threads that wait sleep: actors take turns on the cores, and one that spins holds its core against the actor
#: whose turn it is. Copies of 4 MiB and more, as of weights, do not read what they overwrite, a third of their
#: memory traffic: glibc goes by the size of a cache, which virtual machines overstate.
ACTOR_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "GLIBC_TUNABLES": f"glibc.cpu.x86_non_temporal_threshold={4 << 20}",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}
