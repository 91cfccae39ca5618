# /// attack
# must-not = "leave files behind by making them unreadable"
# allowed = ["ok"]
# returns = "1"
# ///
import os


def attack():
    os.makedirs("a/b")
    with open("a/b/c", "w") as file:
        file.write("x")
    os.chmod("a/b", 0)
    os.chmod("a", 0)
    return 1
