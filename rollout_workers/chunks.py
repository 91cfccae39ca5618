"""How many logits a denoising step works on at a time, by the kind of its device."""

from __future__ import annotations

#: Logits held at once: 128 MiB on a CPU, 1 GiB on a GPU. A product of fewer rows would read the head more often.
CHUNK_LOGITS = {"cpu": 2**25, "cuda": 2**28}
#: Of these, as many are gone over together: on a CPU, what a core's cache holds.
PASS_LOGITS = {"cpu": 2**20, "cuda": 2**28}
