# /// attack
# must-not = "make or leave a control group, or change its limits"
# allowed = ["ok"]
# returns = "[]"
# ///
import os


def attack():
    worked = []
    for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"):
        try:
            os.mkdir(f"{root}/couplet-x")
            worked.append(root)
        except OSError:
            pass
        for name in ("cgroup.procs", "tasks", "memory.max", "memory.limit_in_bytes", "release_agent", "notify_on_release"):
            try:
                os.close(os.open(f"{root}/{name}", os.O_WRONLY))
                worked.append(f"{root}/{name}")
            except OSError:
                pass
    return worked
