"""A whole search, by hand and with the product: `python scripts/benchmarks/end_to_end --help`."""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import benchmark
import comparison
import images
import runs

_PACKAGES = ("ray", "optuna", "mlflow", "torch", "torchvision", "numpy")
_EPILOG = """
by_hand.py is a good hand-written script: Ray Tune, OptunaSearch, ASHA, the MLflow callback, a DataLoader. It and `hpo
search` get the same images, split, space, first config, network, number of trials and epochs, and two trials at once
with a CPU each. Whole commands are timed, from start to end. Peers take turns, and begin with another one each seed.
The best trial's checkpoint of each is tested alike. "hpo, tpe + asha_stop" decides as the script does.

  python scripts/benchmarks/end_to_end --data cifar10.npz --seeds 3 --json end_to_end.json
  python scripts/benchmarks/end_to_end --data cifar10.npz --images 500 --trials 4 --epochs 3    a quick look
"""


def main() -> None:
    """Runs the peers in turn, prints the tables, writes the JSON."""
    options = _options()
    budget = runs.Budget(options.trials, options.epochs)
    finished = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            data = Path(folder) / f"images-{seed}.npz"
            images.write(options.data, data, options.images, seed)
            first = seed % len(options.peers)
            for peer in (*options.peers[first:], *options.peers[:first]):
                finished.append(runs.run(peer, seed, data, budget))
                print(_progress(finished[-1]), file=sys.stderr, flush=True)
                if options.json is not None:
                    benchmark.write(options.json, "end_to_end", _PACKAGES, finished)
    order = {peer: place for place, peer in enumerate(options.peers)}
    print(comparison.as_text(sorted(finished, key=lambda run: (order[run.peer], run.seed))))


def _progress(run: runs.Run) -> str:
    return (
        f"{run.peer}, seed {run.seed}: {run.seconds:.1f} s, {run.epochs} epochs,"
        f" validation {run.validation:.4f}, test {run.test:.4f}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="end_to_end", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help="CIFAR-10 as .npz: x_train, y_train, x_test, y_test"
    )
    parser.add_argument("--images", type=int, default=2000, help="of training and validation (2000)")
    parser.add_argument("--trials", type=int, default=16, help="of each search (16)")
    parser.add_argument("--epochs", type=int, default=9, help="of a trial at most (9)")
    parser.add_argument("--seeds", type=int, default=1, help="how many searches of each peer (1)")
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
