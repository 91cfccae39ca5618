# /// attack
# must-not = "read or write another process's memory"
# allowed = ["ok"]
# returns = "[]"
# call = "attack({host})"
# ///
import ctypes
import os


def attack(host):
    libc, worked = ctypes.CDLL(None, use_errno=True), []
    buffer = ctypes.create_string_buffer(64)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 64)
    for pid in {1, 2, 3, host, os.getppid()} - {os.getpid()}:
        for name in ("mem", "maps", "environ", "auxv", "stack", "syscall", "pagemap"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    if name == "mem" or file.read(1):
                        worked.append((pid, name))
            except OSError:
                pass
        for name in ("process_vm_readv", "process_vm_writev"):
            if getattr(libc, name)(pid, vector, 1, vector, 1, 0) >= 0:
                worked.append((pid, name))
    return worked
