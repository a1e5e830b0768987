"""What a trial costs beside its objective: `python scripts/benchmarks/overhead --help`."""

import argparse
import itertools
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import benchmark
import comparison
import runs

_PACKAGES = ("ray", "optuna", "mlflow", "torch", "numpy", "sqlalchemy")
_EPILOG = """
The objective is a learning curve of up to 9 epochs that takes no time, so that everything measured is overhead: trials
are proposed, started, stopped by successive halving and written to MLflow (SQLite), two at a time. Peers make different
numbers of reports, as they stop trials differently. start-up: until the first trial begins, with imports and Ray.
closing: after the last report, until the process has ended. "after start-up" is a trial's share of all but start-up;
what happens once a run, as MLflow making its database, weighs more there on a peer of fewer trials. processes: in which
the objective ran.

  python scripts/benchmarks/overhead                                     everything, ten minutes or more
  python scripts/benchmarks/overhead --slow-trials 40 --repeats 3        a table with spread
  python scripts/benchmarks/overhead --trials 20 --peers "hpo;Ray Tune"  a quick look
"""


def main() -> None:
    """Runs the peers in turn, prints the table, writes the JSON."""
    options = _options()
    finished = []
    for repeat, name in itertools.product(range(options.repeats), options.peers):
        trials = options.slow_trials if runs.PEERS[name].slow and options.slow_trials else options.trials
        run = runs.run(name, trials, repeat)
        finished.append(run)
        print(
            f"{name}: {run.trials} trials in {run.seconds:.1f} s, {run.start_up:.1f} s of it start-up",
            file=sys.stderr,
            flush=True,
        )
    print(comparison.as_text(finished))
    if options.json is not None:
        benchmark.write(options.json, "overhead", _PACKAGES, finished)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="overhead", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200, help="of each peer (200)")
    parser.add_argument("--slow-trials", type=int, metavar="N", help="of the peers that start a process for each trial")
    parser.add_argument("--repeats", type=int, default=1, help="how often, all peers in turn (1)")
    parser.add_argument(
        "--peers",
        type=benchmark.some_of(runs.PEERS),
        default=list(runs.PEERS),
        help=f"some of: {'; '.join(runs.PEERS)} (all)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the runs are written")
    return parser.parse_args()


if __name__ == "__main__":
    main()
