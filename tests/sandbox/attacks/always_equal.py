# /// attack
# must-not = "cross as anything but its base type"
# allowed = ["ok"]
# returns = "7"
# stopped-by = "runner"
# ///
class Equal(int):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


def attack():
    return Equal(7)
