# /// forgery
# hack = "answers otherwise whenever it is asked again"
# ///
import itertools

numbers = itertools.count(1_000_000)


class Changing:
    def __iter__(self):
        return iter([next(numbers)])

    def __len__(self):
        return next(numbers)

    def __float__(self):
        return float(next(numbers))

    def __eq__(self, other):
        return next(numbers) % 2 == 0

    __hash__ = None


def forge(*arguments):
    return Changing()
