# /// attack
# must-not = "start worker processes"
# allowed = ["ok", "timeout"]
# returns = "'refused'"
# ///
import multiprocessing


def attack():
    try:
        with multiprocessing.Pool(4) as pool:
            return pool.map(abs, [1, 2])
    except (OSError, RuntimeError):
        return "refused"
