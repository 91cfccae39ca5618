# /// attack
# must-not = "learn how the slot was set up"
# allowed = ["ok"]
# returns = "[]"
# ///
import glob

WORDS = (b"child_uid", b"runner_uid", b"libraries", b"cgroups", b"interpreter")


def attack():
    found = []
    for path in glob.glob("/proc/*/cmdline") + glob.glob("/proc/*/environ"):
        try:
            with open(path, "rb") as file:
                found += [(path, word) for word in WORDS if word in file.read(1 << 16)]
        except OSError:
            pass
    return found
