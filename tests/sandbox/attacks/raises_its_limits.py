# /// attack
# must-not = "raise a limit"
# allowed = ["ok"]
# returns = "[]"
# ///
import resource


def attack():
    raised = []
    for name in dir(resource):
        if not name.startswith("RLIMIT_"):
            continue
        kind = getattr(resource, name)
        before = resource.getrlimit(kind)
        if before[1] == resource.RLIM_INFINITY:
            continue
        for limit in ((resource.RLIM_INFINITY,) * 2, (before[1] + 1,) * 2):
            try:
                resource.setrlimit(kind, limit)
                raised.append(name)
            except (OSError, ValueError):
                pass
    return raised
