"""Of `helm test`: a right and a wrong program must be judged so. Argument: the reward service's address."""

import json
import os
import sys
import urllib.request

TASK = {
    "id": "add",
    "prompt": "",
    "prefix": "def add(a, b):\n",
    "tests": [{"call": "add(1, 2)", "expected": "3"}, {"call": "add(-4, 4)", "expected": "0"}],
}
BATCH = {
    "deadline_s": 60,
    "groups": [{"id": "g", "task": TASK, "completions": ["    return a + b\n", "    return a - b\n"]}],
}

request = urllib.request.Request(
    sys.argv[1] + "/v1/score",
    data=json.dumps(BATCH).encode(),
    headers={"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["COUPLET_REWARD_TOKEN"]},
)
with urllib.request.urlopen(request, timeout=90) as answer:
    group, *_ = [json.loads(line) for line in answer.read().splitlines()]
verdicts = [set(score["verdicts"]) for score in group["scores"]]
if verdicts != [{"passed"}, {"failed"}]:
    sys.exit(f"wrong verdicts: {group}")
print("the right program passed, the wrong one failed")
