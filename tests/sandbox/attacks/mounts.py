# /// attack
# must-not = "mount or unmount anything"
# allowed = ["ok"]
# returns = "[]"
# ///
import ctypes


def attack():
    libc, worked = ctypes.CDLL(None), []
    for target in (b"/proc", b"/tmp", b"/dev", b"/usr", b"/"):
        if libc.umount2(target, 2) == 0:
            worked.append(("umount", target))
        if libc.mount(b"none", target, b"tmpfs", 0, None) == 0:
            worked.append(("mount", target))
        if libc.mount(None, target, None, 32, None) == 0:
            worked.append(("remount", target))
    return worked
