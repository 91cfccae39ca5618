# /// attack
# must-not = "list folders of the host"
# allowed = ["ok"]
# returns = "[]"
# ///
import os
import sys

# An interpreter may live below one of them; then the way to it is there, and nothing else.
OURS = [os.path.realpath(path) for path in (os.__file__, sys.executable, sys.prefix, sys.base_prefix)]
FILES = {"ld.so.cache", "localtime", "hosts", "hostname", "resolv.conf", "mtab", "alternatives", "ssl", "python3", "python3.11"}


def attack():
    listed = []
    for folder in ("/home", "/root", "/etc", "/var", "/boot", "/opt", "/mnt", "/srv", "/run"):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        listed += [name for name in names if name not in FILES and not any(path.startswith(f"{folder}/{name}") for path in OURS)]
    return listed
