"""Small tables that scikit-learn ships: no download, for a first try and for benchmarks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split

from hpo.datasets.dataset import Encoding, Examples, Source
from hpo.spec import DataSettings

_TEST_FRACTION = 0.2
_TEST_SEED = 0
"""The test rows never change, whatever the study's seed: results of all studies compare."""


def breast_cancer(settings: DataSettings, data_dir: Path) -> Source:
    """569 tumours in 2 classes by 30 features (Wolberg et al. 1995); classification."""
    return _classes(datasets.load_breast_cancer, "breast_cancer")


def wine(settings: DataSettings, data_dir: Path) -> Source:
    """178 wines in 3 classes by 13 features (Aeberhard and Forina 1992); classification."""
    return _classes(datasets.load_wine, "wine")


def diabetes(settings: DataSettings, data_dir: Path) -> Source:
    """442 patients by 10 features, the progression of their disease in a year (Efron et al. 2004); regression."""
    bunch = datasets.load_diabetes(scaled=False)
    return _split(bunch, bunch.target.astype(np.float32)[:, None], None, ("progression",), "diabetes")


def _classes(load: Callable[[], Any], name: str) -> Source:
    bunch = load()
    labels = bunch.target.astype(np.int64)
    return _split(bunch, labels, labels, tuple(str(label) for label in bunch.target_names), name)


def _split(bunch: Any, targets: Any, stratify: Any, outputs: tuple[str, ...], name: str) -> Source:
    train, test = train_test_split(
        np.arange(len(targets)), test_size=_TEST_FRACTION, stratify=stratify, random_state=_TEST_SEED
    )
    examples = Examples(bunch.data.astype(np.float32), targets)
    encoding = Encoding(tuple(str(feature) for feature in bunch.feature_names))
    return Source(examples.take(np.sort(train)), examples.take(np.sort(test)), outputs, name, encoding)
