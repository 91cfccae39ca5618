# /// attack
# must-not = "run another program"
# allowed = ["ok"]
# returns = "[]"
# ///
import os
import subprocess
import sys


def attack():
    ran = []
    for program in ("/bin/sh", "/usr/bin/env", sys.executable, os.path.realpath("/proc/self/exe")):
        try:
            subprocess.run([program, "--version"], capture_output=True, timeout=5)
            ran.append(program)
        except (OSError, subprocess.SubprocessError, RuntimeError):
            pass
    return ran
