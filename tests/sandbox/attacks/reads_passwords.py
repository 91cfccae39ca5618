# /// attack
# must-not = "read password hashes"
# allowed = ["ok"]
# returns = "[]"
# ///
def attack():
    found = []
    for path in ("/etc/shadow", "/etc/gshadow", "/etc/passwd-", "/root/.ssh/id_rsa", "/root/.bash_history"):
        try:
            found.append(open(path).read()[:10])
        except OSError:
            pass
    return found
