# /// attack
# must-not = "make more files than its limit, or leave any"
# allowed = ["ok", "timeout"]
# returns = "True"
# returns-at = ["jail", "namespaces"]
# ///
def attack():
    made = 0
    try:
        for number in range(3000):
            open(f"file-{number}", "w").close()
            made += 1
    except OSError:
        pass
    return made <= 64
