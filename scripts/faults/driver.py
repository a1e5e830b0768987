"""A search as a user writes one in Python; every epoch that a worker trains is noted in a file outside the study.

python scripts/faults/driver.py SPACE STORAGE NOTES
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import hpo
from hpo.training import Context, Report, train


def noted(notes: Path, seconds: float, config: Mapping[str, Any], context: Context) -> Iterator[Report]:
    """The built-in training, but slower; a line of the notes is a trial's seed and epoch."""
    for report in train(config, context):
        line = f"{context.seed} {report.epoch}\n".encode()
        file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, line)
        finally:
            os.close(file)
        time.sleep(seconds)
        yield report


if __name__ == "__main__":
    space, storage, notes = map(Path, sys.argv[1:])
    hpo.search(space, storage=storage, concurrency=2, train=partial(noted, notes, 0.2))
