# /// attack
# must-not = "grow while it is encoded"
# allowed = ["error", "timeout", "memory", "ok"]
# stopped-by = "runner"
# ///
import threading


def attack():
    x = [0]

    def grow():
        while True:
            x.append([x])

    threading.Thread(target=grow, daemon=True).start()
    return x
