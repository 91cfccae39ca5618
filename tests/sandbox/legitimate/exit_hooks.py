# /// program
# prints = "hi\nbye"
# ///
import atexit

atexit.register(print, "bye")
print("hi")
