# /// program
# prints = "UTF-8 1234.50 True"
# ///
import locale

locale.setlocale(locale.LC_ALL, "")
codeset = locale.nl_langinfo(locale.CODESET)
locale.setlocale(locale.LC_ALL, "C.UTF-8")
text = locale.format_string("%.2f", 1234.5, grouping=True)
print(codeset, text, locale.setlocale(locale.LC_ALL, "C") == "C" and sorted("b\u00e4a", key=locale.strxfrm)[0] == "a")
