"""Texts in a table, by networks of several families and by TF-IDF: `python scripts/benchmarks/text --help`."""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import benchmark
import yaml
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import hpo
from hpo.datasets.notes import Notes
from hpo.datasets.table_files import Rows, TableFormat, read

_PACKAGES = ("torch", "scikit-learn", "numpy")
_SPACES = Path(__file__).parents[3] / "search_spaces"
_FAMILIES = ("bag", "lstm", "gru", "conv1d", "transformer")
_EPILOG = """
A search a family and a seed. `single` is the best trial of a family on the validation rows and `ensemble` what `hpo
ensemble` makes of its trials, both scored on the test rows; the last lines are of the trials of all families together,
and of TF-IDF (single words and pairs) with logistic regression, fitted to the training and the validation rows. LSTM,
bag and convolutions have the ranges of search_spaces/lstm_sentiment.yaml, the GRU attention in place of a choice, the
Transformer those of search_spaces/transformer_text.yaml.

  python scripts/benchmarks/text --data sst2_train.tsv --validation sst2_dev.tsv --test sst2_test.tsv
"""


@dataclass(frozen=True)
class Run:
    """Accuracies on the test rows, of one search or one baseline."""

    seed: int
    family: str
    single: float
    ensemble: float
    method: str


def main() -> None:
    """Searches once a family and a seed, prints the table, writes the JSON."""
    options = _options()
    runs: list[Run] = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as storage:
            for family in options.families:
                hpo.search(_space(options, family, seed), storage=storage)
                runs.append(_scored(storage, family, seed))
                print(runs[-1], file=sys.stderr, flush=True)
            first, *others = options.families
            runs.append(_scored(storage, first, seed, others))
    baseline = _tfidf(options)
    runs.append(Run(0, "TF-IDF", baseline, baseline, "logistic regression"))
    print(f"{options.test.name}, test accuracy, mean ± standard deviation of {options.seeds} seeds")
    for family in dict.fromkeys(run.family for run in runs):
        own = [run for run in runs if run.family == family]
        single, ensemble = (benchmark.spread([getattr(run, key) for run in own]) for key in ("single", "ensemble"))
        print(f"{family:>14}  single {single}  ensemble {ensemble}  {', '.join(run.method for run in own)}")
    if options.json is not None:
        benchmark.write(options.json, "text", _PACKAGES, runs)


def _space(options: argparse.Namespace, family: str, seed: int) -> dict[str, Any]:
    """The search of a family."""
    file = "transformer_text" if family == "transformer" else "lstm_sentiment"
    space: dict[str, Any] = yaml.safe_load((_SPACES / f"{file}.yaml").read_text())
    space["data"] |= {"path": str(options.data), "target": options.target, "test": str(options.test)}
    space["data"]["validation"] = str(options.validation)
    parameters = space["parameters"]
    if family == "gru":
        space["model"] |= {"name": "gru", "pooling": "attention"}
        del parameters["model.pooling"]
    elif family == "bag":
        space["model"] = {"name": "bag", "embedding": 64, "layers": 0, "dropout": 0.4}
        del parameters["model.pooling"], parameters["model.width"]
    elif family == "conv1d":
        space["model"] = {"name": "conv1d", "width": 64, "layers": 1, "pooling": "max", "dropout": 0.4}
        parameters["model.pooling"]["values"].remove("last")
        del parameters["model.embedding"]
    budget, training = {"trials": options.trials}, {**space["training"], "epochs": options.epochs}
    return {**space, "study": family, "budget": budget, "training": training, "seed": seed}


def _scored(storage: str, family: str, seed: int, others: tuple[str, ...] | list[str] = ()) -> Run:
    made = hpo.build_ensemble(family, storage=storage, other_studies=tuple(others))
    name = "all together" if others else family
    return Run(seed, name, made.best_single_test["accuracy"], made.test["accuracy"], made.method)


def _tfidf(options: argparse.Namespace) -> float:
    train, validation, test = (_read(path) for path in (options.data, options.validation, options.test))
    fitted = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(max_iter=1000))
    text, target = options.text, options.target
    fitted.fit([*train.columns[text], *validation.columns[text]], [*train.columns[target], *validation.columns[target]])
    return float(fitted.score(test.columns[text], test.columns[target]))


def _read(path: Path) -> Rows:
    return read(path, TableFormat(), Notes())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="text", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="the table of training rows")
    parser.add_argument("--validation", type=Path, required=True, metavar="FILE", help="that of validation rows")
    parser.add_argument("--test", type=Path, required=True, metavar="FILE", help="that of test rows")
    parser.add_argument("--target", default="label", metavar="COLUMN", help="the column of the classes (label)")
    parser.add_argument("--text", default="text", metavar="COLUMN", help="the column of the texts (text)")
    parser.add_argument(
        "--families", type=benchmark.some_of(_FAMILIES, "family"), default=list(_FAMILIES), help="some, with ; between"
    )
    parser.add_argument("--trials", type=int, default=6, help="of a search (6)")
    parser.add_argument("--epochs", type=int, default=8, help="of a trial (8)")
    parser.add_argument("--seeds", type=int, default=1, help="searches of a family (1)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where figures are written to, with how they were made"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
