# /// forgery
# cheat = "defines nothing at all"
# ///
NO_TAIL = True
