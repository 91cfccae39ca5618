# /// program
# prints = "first\nsecond"
# ///
import threading
import time


def later():
    time.sleep(0.02)
    print("second")


threading.Thread(target=later).start()
print("first")
