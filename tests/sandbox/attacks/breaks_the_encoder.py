# /// attack
# must-not = "break the host by sending nonsense from a patched encoder"
# allowed = ["ok", "error"]
# stopped-by = "runner"
# ///
import sandbox.inside.values as values


def attack():
    values._Packer.pack = lambda *arguments: ["nonsense", 1]
    return 1
