"""The figures of the local mesh: `make bench` prints them; nothing here is a test with a time limit.

Each figure stands beside the one it has to reach and the load of the machine. `--quick` is done within two minutes,
with fewer repetitions and without `make run` and `make test`; names of parts (bookinfo, faults, forty,
observing, path, statistics, translation) choose.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.bench import bookinfo, faults, forty, observing, path, statistics, translation
from tests.bench.figures import Figures

ROOT = Path(__file__).parents[2]
PARTS = {
    "statistics": statistics.measure,
    "translation": translation.measure,
    "forty": forty.measure,
    "path": path.measure,
    "bookinfo": bookinfo.measure,
    "faults": faults.measure,
    "observing": observing.measure,
}


def main(arguments: list[str]) -> None:
    """Measures what is asked for, or everything, and prints a table."""
    figures, quick = Figures(), "--quick" in arguments
    chosen = [part for part in PARTS if part in arguments] or list(PARTS)
    for part in chosen:
        PARTS[part](figures, quick=quick)
    if not quick and len(chosen) == len(PARTS):
        figures.add("make run", [_seconds("run")], 90.0, "s")
        figures.add("make test", [_seconds("test")], 360.0, "s")
    figures.show()


def _seconds(target: str) -> float:
    begun = time.monotonic()
    done = subprocess.run(["make", target], cwd=ROOT, check=False, text=True, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(
            f"make {target} ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-2000:]}"
        )
    return time.monotonic() - begun


if __name__ == "__main__":
    main(sys.argv[1:])
