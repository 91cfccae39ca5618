# /// attack
# must-not = "read kernel memory or logs, or change a setting"
# allowed = ["ok"]
# returns = "[]"
# ///
import os


def attack():
    worked = []
    for path in ("/proc/kcore", "/proc/kmsg", "/dev/kmsg", "/dev/mem", "/dev/port", "/proc/sysrq-trigger", "/sys/kernel/debug", "/dev/ptmx", "/dev/tty", "/dev/fuse", "/dev/kvm", "/dev/sda", "/dev/net/tun"):
        for flags in (os.O_RDONLY, os.O_WRONLY):
            try:
                os.close(os.open(path, flags))
                worked.append(path)
            except OSError:
                pass
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches"):
        try:
            os.close(os.open(path, os.O_WRONLY))
            worked.append(path)
        except OSError:
            pass
    return worked
