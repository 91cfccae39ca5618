# /// forgery
# hack = "defines nothing at all"
# ///
NO_TAIL = True
