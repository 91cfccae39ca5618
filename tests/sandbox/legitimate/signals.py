# /// program
# prints = "caught 10\nalarm"
# ///
import os
import signal
import time

signal.signal(signal.SIGUSR1, lambda number, frame: print("caught", number))
signal.signal(signal.SIGALRM, lambda number, frame: print("alarm"))
os.kill(os.getpid(), signal.SIGUSR1)
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.pause()
