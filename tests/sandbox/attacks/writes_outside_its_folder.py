# /// attack
# must-not = "write anywhere but in its own folder"
# allowed = ["ok"]
# returns = "[]"
# ///
import os


def attack():
    written = []
    paths = ("/x", "/dev/x", "/etc/x", "/usr/x", "/usr/lib/x", "/proc/x", "/sys/x", "/run/x", "/var/x", "/couplet/x", "/root/x")
    for path in (*paths, os.__file__, "/dev/shm/../x", "/etc/passwd"):
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
            written.append(path)
        except OSError:
            pass
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("-1000")
        written.append("a lower chance of being killed for memory")
    except OSError:
        pass
    return written
