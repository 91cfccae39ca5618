# /// program
# prints = "1,234.50 C"
# ///
import locale

print(f"{1234.5:,.2f}", locale.setlocale(locale.LC_NUMERIC))
