# /// attack
# must-not = "delete, rename, link or change files of the interpreter"
# allowed = ["ok"]
# returns = "[]"
# ///
import json
import os


def attack():
    path, worked = json.__file__, []
    for name, action in {
        "unlink": lambda: os.unlink(path),
        "rename": lambda: os.rename(path, path + ".x"),
        "link": lambda: os.link(path, "here.py"),
        "chmod": lambda: os.chmod(path, 0o777),
        "chown": lambda: os.chown(path, os.getuid(), -1),
        "truncate": lambda: os.truncate(path, 0),
        "utime": lambda: os.utime(path),
        "setxattr": lambda: os.setxattr(path, "user.x", b"1"),
    }.items():
        try:
            action()
            worked.append(name)
        except OSError:
            pass
    return worked
