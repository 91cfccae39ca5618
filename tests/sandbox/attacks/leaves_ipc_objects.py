# /// attack
# must-not = "leave System V or POSIX objects behind"
# allowed = ["ok"]
# returns = "[]"
# ///
import ctypes


def attack():
    libc, made = ctypes.CDLL(None), []
    if libc.shmget(0x5F1E, 4096, 0o1666) >= 0:
        made.append("shm")
    if libc.semget(0x5F1E, 1, 0o1666) >= 0:
        made.append("sem")
    if libc.msgget(0x5F1E, 0o1666) >= 0:
        made.append("msg")
    if ctypes.CDLL("librt.so.1").mq_open(b"/couplet-x", 0o102, 0o666, None) >= 0:
        made.append("mq")
    return made
