# /// program
# prints = "P(3)"
# ///
import copy
import pickle


class P:
    def __init__(self, x):
        self.x = x

    def __repr__(self):
        return f"P({self.x})"


print(copy.deepcopy(pickle.loads(pickle.dumps(P(3)))))
