# /// attack
# must-not = "end anything but itself"
# allowed = ["crash", "error", "timeout", "memory"]
# ///
import ctypes


def attack():
    for address in range(id(attack) & ~0xFFF, (id(attack) & ~0xFFF) + (1 << 16), 8):
        ctypes.c_uint64.from_address(address).value = 0x4141414141414141
    return attack()
