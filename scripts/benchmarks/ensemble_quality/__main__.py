"""Do ensembles pay? `python scripts/benchmarks/ensemble_quality --help`."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import comparison
import deep
import optuna
import peer
import replay
import runs
import searches
from sources import SOURCES

import hpo
from hpo.ensemble.build.draft import stored_part
from hpo.ensemble.build.prediction import predict_test_rows
from hpo.ensemble.pool import Pool
from hpo.study import environment
from hpo.study.study import Study

_PACKAGES = ("hpo", "torch", "ray", "optuna", "numpy", "scipy", "scikit-learn")


def main() -> None:
    """Runs what is missing, prints the tables, writes the JSON."""
    options = _options()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options.folder.mkdir(parents=True, exist_ok=True)
    keys = [(name, seed) for seed in options.seeds for name in options.sources]
    if not options.replay_only:
        searches.search_all(keys, options.data, options.folder)
    searched = searches.seconds(options.folder)
    ready = [key for key in keys if key in searched]
    journal = options.output.with_suffix(".jsonl")
    runs.forget(journal, options.again)
    replay_all(ready, options.folder, journal)
    if options.peer is not None:
        ask_peer(ready, options.folder, journal, options.peer)
    if not options.replay_only:
        train_deep([key for key in ready if key[0] not in options.no_deep], options.folder, journal)
    finished = _sorted([run for run in runs.read(journal) if (run.key.data, run.key.seed) in set(ready)])
    print(comparison.as_text(finished))
    record = {**_record(options), "results": comparison.as_json(finished), "searches": _searches(ready, searched)}
    if options.speed:
        record["speed"] = peer.speed(options.peer, options.speed)
        print(f"\nGreedy selection, 500 members x 10,000 rows x 10 classes, 50 rounds: {record['speed']}")
    record["runs"] = [asdict(run) for run in finished]
    options.output.write_text(json.dumps(record, indent=1) + "\n")


def replay_all(keys: Sequence[searches.Key], folder: Path, journal: Path) -> None:
    """Every method on every pool, but for what the journal has."""
    done = {run.key for run in runs.read(journal)}
    for data, seed in keys:
        study = _study(data, seed, folder)
        names = [name for name in replay.methods(study.study_spec.task) if runs.Key(data, seed, name) not in done]
        if names:
            runs.append(journal, replay.replay(data, seed, _pool(study), names))
            print(f"{study.name}: {len(names)} methods", file=sys.stderr, flush=True)


def ask_peer(keys: Sequence[searches.Key], folder: Path, journal: Path, python: Path) -> None:
    """The peer on every pool, but for what the journal has."""
    done = {run.key for run in runs.read(journal)}
    missing = [key for key in keys if runs.Key(*key, peer.PEER) not in done]
    if missing:
        pools = {key: _pool(_study(*key, folder)) for key in missing}
        runs.append(journal, peer.replay(python, pools))


def _pool(study: Study) -> Pool:
    """The candidates, all of which have predicted the test rows."""
    pool = Pool.load(study, replay.POOL)
    predict_test_rows(study, [stored_part(pool, place) for place in range(len(pool.trials))], Path("data"), print)
    return pool


def train_deep(keys: Sequence[searches.Key], folder: Path, journal: Path) -> None:
    """A deep ensemble for every search, but for what the journal has."""
    done = {run.key for run in runs.read(journal)}
    for data, seed in keys:
        if runs.Key(data, seed, deep.DEEP) not in done:
            finished = deep.run(data, seed, _study(data, seed, folder))
            runs.append(journal, [finished])
            members = f"{finished.members} members"
            print(f"{data}-{seed}: {members} in {finished.seconds} s", file=sys.stderr, flush=True)


def _study(data: str, seed: int, folder: Path) -> Study:
    return hpo.open_study(searches.study(data, seed), folder / "studies")


def _sorted(finished: Sequence[runs.Run]) -> list[runs.Run]:
    """By the order of methods in the tables, then of data sets."""
    order = [*replay.BASELINES, "auto", *replay.methods("classification"), *replay.methods("regression")]
    methods = [*dict.fromkeys(order), peer.PEER, deep.DEEP]
    data = list(SOURCES)
    return sorted(finished, key=lambda run: (methods.index(run.key.method), data.index(run.key.data), run.key.seed))


def _searches(keys: Sequence[searches.Key], seconds: dict[searches.Key, float]) -> dict[str, float]:
    return {searches.study(*key): seconds[key] for key in keys}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ensemble_quality",
        description="Every ensemble method against the best single trial of real searches, on real data, paired.",
    )
    parser.add_argument("--data", type=Path, help="folder with images/, text/ and speech/; see sources.py")
    parser.add_argument("--folder", type=Path, required=True, help="where searches lie; a later run goes on there")
    parser.add_argument("--output", type=Path, required=True, help="a .json; the finished runs lie beside it as .jsonl")
    parser.add_argument("--seeds", type=lambda text: range(int(text)), default=range(5), help="how many, from 0 on")
    parser.add_argument("--sources", type=_names(SOURCES), default=list(SOURCES), help=", ".join(SOURCES))
    parser.add_argument("--replay-only", action="store_true", help="search and train nothing: use what is there")
    parser.add_argument("--no-deep", type=_names(SOURCES), default=[], help="data sets without a deep ensemble")
    parser.add_argument("--again", type=lambda text: text.split(","), default=[], help="methods to forget first")
    parser.add_argument("--peer", type=Path, help="the Python of AutoGluon's environment; see peer.py")
    parser.add_argument("--speed", type=int, default=0, metavar="ROUNDS", help="time it too, the peer for these rounds")
    options = parser.parse_args()
    if not options.replay_only and options.data is None:
        parser.error("--data is needed to search")
    if options.speed and options.peer is None:
        parser.error("--speed needs --peer")
    return options


def _names(known: Mapping[str, object]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        unknown = [name for name in text.split(",") if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"no such data set: {', '.join(unknown)}; there are {', '.join(known)}")
        return text.split(",")

    return parse


def _record(options: argparse.Namespace) -> dict[str, object]:
    return {
        "command": _command(options),
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {"cpu": environment.processor(), "cores": os.cpu_count()},
        "seeds": list(options.seeds),
        "sources": options.sources,
        "top": replay.TOP,
        "pool": replay.POOL,
    }


def _command(options: argparse.Namespace) -> str:
    """As it was typed, without the folders of this machine."""
    private = {str(options.data): "DATA", str(options.folder): "FOLDER", str(options.peer): "PEER/bin/python"}
    private[str(options.output)] = options.output.name
    return " ".join(["python", "scripts/benchmarks/ensemble_quality", *(private.get(it, it) for it in sys.argv[1:])])


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
