# /// attack
# must-not = "hold its slot from a thread after the last line"
# allowed = ["timeout"]
# kind = "stdin"
# ///
import threading
import time

threading.Thread(target=time.sleep, args=(100,)).start()
