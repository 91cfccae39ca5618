# /// attack
# must-not = "keep the host waiting by leaving stdout open in another process"
# allowed = ["ok"]
# kind = "stdin"
# prints = "done"
# ///
import os
import time

try:
    if os.fork() == 0:
        time.sleep(1000)
except OSError:
    pass
print("done")
