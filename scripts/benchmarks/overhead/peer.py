"""What every peer says at its end: one line of JSON, the last one on stdout."""

import json
import resource
import sys

_UNIT = 1024**2 if sys.platform == "darwin" else 1024


def finish(trials: int, problem: str | None = None) -> None:
    """Prints how many trials there were, what went wrong, and the most memory that this process has held."""
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _UNIT
    print(json.dumps({"trials": trials, "memory_mb": round(memory_mb), "problem": problem}), flush=True)
