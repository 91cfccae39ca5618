# /// attack
# must-not = "write more than its file limit"
# allowed = ["error"]
# ///
def attack():
    with open("f", "wb") as file:
        while True:
            file.write(bytes(1 << 20))
