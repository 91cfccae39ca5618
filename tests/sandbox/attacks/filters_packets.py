# /// attack
# must-not = "load a program into the kernel's packet filter"
# allowed = ["ok"]
# returns = "[]"
# ///
import ctypes
import socket
import struct

ATTACH_FILTER, REUSEPORT_FILTER, LOCK_FILTER, ATTACH_BPF = 26, 51, 44, 50


def attack():
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(instruction))
    attached = []
    for option in (ATTACH_FILTER, REUSEPORT_FILTER, LOCK_FILTER, ATTACH_BPF):
        try:
            socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, option, program)
            attached.append(option)
        except OSError:
            pass
    return attached
