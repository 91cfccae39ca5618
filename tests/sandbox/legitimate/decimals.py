# /// program
# prints = "0.3333333333333333333333333333 1/3 0.1"
# ///
from decimal import Decimal
from fractions import Fraction

print(Decimal(1) / Decimal(3), Fraction(1, 3), Decimal("0.1"))
