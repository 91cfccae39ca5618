# /// attack
# must-not = "write more than its file limits in many files"
# allowed = ["ok"]
# returns = "True"
# returns-at = ["jail", "namespaces"]
# ///
def attack():
    written = 0
    try:
        for number in range(40):
            with open(f"f{number}", "wb") as file:
                written += file.write(bytes(1 << 20))
    except OSError:
        pass
    return written <= 5 << 20
