# /// attack
# must-not = "lock memory or make secret memory"
# allowed = ["ok"]
# returns = "[]"
# ///
import ctypes
import mmap


def attack():
    libc = ctypes.CDLL(None)
    worked = []
    block = mmap.mmap(-1, 1 << 20)
    address = ctypes.addressof(ctypes.c_char.from_buffer(block))
    if libc.mlock(ctypes.c_void_p(address), 1 << 20) == 0:
        worked.append("mlock")
    if libc.mlockall(3) == 0:
        worked.append("mlockall")
    if libc.syscall(447, 0) >= 0:
        worked.append("memfd_secret")
    return worked
