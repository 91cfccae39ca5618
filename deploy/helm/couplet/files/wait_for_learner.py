"""Of a learner pod's preStop hook: have the run stop with a checkpoint, and keep the pod while its ranks live.

`ray start`, the pod's first process, ends all of Ray at once when it is told to stop, in the middle of a
checkpoint if need be. The ranks' heartbeats tell the run of the file COUPLET_LEAVING, and the run ends its ranks
after their checkpoint. Argument: seconds.
"""

import os
import sys
import time
from pathlib import Path


def ranks() -> bool:
    """Whether a rank of the learner, which Ray names after its class, runs in this pod."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                title = file.read()
        except OSError:
            continue
        if title.startswith((b"ray::LearnerRank", b"ray::StageRank")):
            return True
    return False


Path(os.environ["COUPLET_LEAVING"]).touch()
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end and ranks():
    time.sleep(0.5)
