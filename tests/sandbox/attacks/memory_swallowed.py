# /// attack
# must-not = "hold the slot by catching MemoryError"
# allowed = ["timeout", "memory", "crash"]
# ///
def attack():
    kept = []
    while True:
        try:
            kept.append(bytearray(1 << 16))
        except MemoryError:
            pass
