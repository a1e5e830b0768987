"""Searches whose drivers are killed at random moments: `python scripts/faults --rounds 100`."""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import rounds


def main() -> None:
    """Prints what was done; a traceback and exit code 1 where something that must hold does not."""
    parser = argparse.ArgumentParser(
        prog="faults",
        description="Kills the driver of real searches (SIGKILL) at random moments and goes on with them, until each "
        "is done. Then every trial must be there once, none that had ended may have been trained again, no process may "
        "be left, and MLflow must have what the study has.",
    )
    parser.add_argument("--rounds", type=int, default=100, help="kills (100)")
    parser.add_argument("--trials", type=int, default=12, help="of each search (12)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--folder", type=Path, default=None, help="where the studies are; a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults-", dir=options.folder) as folder:
        print(json.dumps(asdict(rounds.run(Path(folder), options.rounds, options.trials, options.seed))))


if __name__ == "__main__":
    main()
