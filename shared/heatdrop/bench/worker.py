"""The process of one contender: loads it once, then answers requests on standard input, one JSON object per line.

    {"image": "i.npy", "classes": [..], "samples": n, "sigma": s, "noise": "n.npy" or null, "maps": "m.npy"}

Each answer is a JSON object with ``seconds`` and ``peak_mb``, the process's peak memory so far. Run as
``python -m heatdrop.bench.worker MODULE FOLDER SETTINGS``; imports nothing that a peer's environment may lack.
"""

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Answer until standard input ends. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    module, folder, settings = sys.argv[1:4]
    started = time.perf_counter()
    peer = importlib.import_module(f"heatdrop.bench.peers.{module}")
    explain = peer.load(Path(folder), **json.loads(settings))
    _answer(answers, time.perf_counter() - started)
    for line in sys.stdin:
        _answer(answers, _explain(explain, json.loads(line)))


def _explain(explain: Any, request: dict[str, Any]) -> float:
    image = np.load(request["image"])
    noise = None if request["noise"] is None else np.load(request["noise"])
    started = time.perf_counter()
    maps = explain(image, request["classes"], request["samples"], request["sigma"], noise)
    seconds = time.perf_counter() - started
    np.save(request["maps"], np.asarray(maps, np.float32))
    return seconds


def _answer(answers: Any, seconds: float) -> None:
    # Kilobytes on Linux, bytes on macOS.
    unit = 1024 if sys.platform == "linux" else 1024**2
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    answers.write(json.dumps({"seconds": seconds, "peak_mb": peak}) + "\n")


if __name__ == "__main__":
    main()
