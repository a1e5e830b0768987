"""The pools: one real search of the product for each data set and seed. What is on disk is not searched again."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sources import SOURCES, Arrays

import hpo
from hpo.searching.results import SearchResult

Key = tuple[str, int]
"""A data set and a seed."""


def search_all(keys: Sequence[Key], data: Path, folder: Path) -> None:
    """Searches what is missing, with one Ray for all; a killed benchmark goes on where it was."""
    from hpo.engine.ray.cluster import cluster

    journal = folder / "searches.jsonl"
    done = set(seconds(folder))
    missing = [key for key in keys if key not in done]
    print(f"{len(missing)} of {len(keys)} searches to do", file=sys.stderr)
    if not missing:
        return
    with cluster(), journal.open("a") as file:
        for name, seed in missing:
            prepare(name, seed, data, folder)
            started = time.monotonic()
            result = search(name, seed, folder)
            if result.interrupted:
                raise KeyboardInterrupt
            row = {"data": name, "seed": seed, "seconds": round(time.monotonic() - started, 1), **result.to_json()}
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(f"{study(name, seed)}: {row['seconds']} s, {row['trials']}", file=sys.stderr, flush=True)


def search(name: str, seed: int, folder: Path) -> SearchResult:
    """One search with the default sampler and scheduler."""
    source = SOURCES[name]
    overrides = {**source.overrides, "data.path": str(arrays_file(name, seed, folder))}
    return hpo.search(source.space, study=study(name, seed), seed=seed, overrides=overrides, storage=folder / "studies")


def prepare(name: str, seed: int, data: Path, folder: Path) -> None:
    """Writes the data set's .npz file, unless it is there."""
    path = arrays_file(name, seed, folder)
    if not path.exists():
        save(path, SOURCES[name].read(data, seed))


def seconds(folder: Path) -> dict[Key, float]:
    """What each finished search took."""
    journal = folder / "searches.jsonl"
    rows = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    return {(row["data"], row["seed"]): row["seconds"] for row in rows}


def study(name: str, seed: int) -> str:
    """The study's name."""
    return f"{name}-{seed}"


def arrays_file(name: str, seed: int, folder: Path) -> Path:
    """Where the data of a search lie."""
    return folder / "data" / f"{study(name, seed)}.npz"


def save(path: Path, arrays: Arrays) -> None:
    """Writes an .npz file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    draft.replace(path)
