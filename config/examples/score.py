"""A child of the exec handler: one event a line in, one answer a line out.

A JSON object is the data of a result, `null` means no result, a CloudEvent (or an array of them) is passed on whole.
What is written to standard error is logged. The end of the input is the end of the child.
"""

import json
import os
import sys

limit = float(os.environ.get("SCORE_LIMIT", "100"))

for line in sys.stdin:
    data = json.loads(line).get("data", {})
    amount = data.get("price", 0) * data.get("quantity", 0)
    answer = {"order": data.get("order"), "score": round(amount / limit, 2)} if amount > 0 else None
    print(json.dumps(answer), flush=True)
