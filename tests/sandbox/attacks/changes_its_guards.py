# /// attack
# must-not = "change what the kernel does when its parent dies, its capabilities or its filter"
# allowed = ["ok"]
# returns = "[]"
# ///
import ctypes


def attack():
    libc, worked = ctypes.CDLL(None), []
    # SET_PDEATHSIG, SET_DUMPABLE, SET_KEEPCAPS, SET_SECCOMP, CAPBSET_DROP, SET_CHILD_SUBREAPER, SET_MM, CAP_AMBIENT
    for option in (1, 4, 8, 22, 24, 36, 35, 47):
        if libc.prctl(option, 0, 0, 0, 0) == 0:
            worked.append(option)
    return worked
