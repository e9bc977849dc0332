"""A program that puts runs into a temporary databroker and reads them back, for environments that can't be ours.

Each line of its input is a run: `{"documents": [[name, document], ...], "keys": [...], "into": path}`. What it reads of
these data keys, over all events, it puts into an .npz file at that path, and answers with a line that says so, or
what was wrong.
"""

import json
import sys

import hdf5plugin  # noqa: F401  registers the filters, for the handlers that open files
import numpy as np
from databroker.v1 import temp


def main() -> None:
    broker = temp()
    for line in sys.stdin:
        run = json.loads(line)
        answer = {}
        try:
            for name, document in run["documents"]:
                broker.insert(name, document)
            found = {key: np.stack([np.asarray(one) for one in broker[-1].data(key)]) for key in run["keys"]}
            np.savez(run["into"], **found)
            answer["run"] = broker[-1].start["uid"]
        except Exception as error:  # noqa: BLE001  whatever it is, the test has to hear of it
            answer["problem"] = repr(error)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
