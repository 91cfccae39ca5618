"""Import all of vLLM that the backend uses, and write the kind of device that it has found.

Run by itself, ``python -m``, since a broken installation can end the process that imports it.
"""

from __future__ import annotations

import sys

from rollout_workers.backends.vllm_backend.names import current_platform


def main() -> None:
    """Write the device as the last line of standard output; end with a reason where it has no kernels."""
    import torch  # after vLLM: where that is broken, the answer comes sooner

    device: str = current_platform.device_type
    # Where the library with its kernels cannot be loaded, vLLM only warns.
    if device == "cpu" and not hasattr(torch.ops._C, "init_cpu_memory_env"):
        sys.exit("its kernels did not load; most often libnuma is missing: apt-get install libnuma1")
    sys.stdout.write(f"\n{device}\n")


if __name__ == "__main__":
    main()
