"""scikit-learn's digits: 1,797 grey 8x8 images in 10 classes, shipped with the package."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from hpo.datasets.dataset import Examples, Source
from hpo.spec import DataSettings

_TEST_FRACTION = 0.2
_TEST_SEED = 0
"""The test rows never change, whatever the study's seed: results of all studies compare."""


def digits(settings: DataSettings, data_dir: Path) -> Source:
    """The data set; its test split is a fixed stratified fifth."""
    bunch = load_digits()
    images = (bunch.images * (255 / 16)).round().astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=_TEST_FRACTION, stratify=labels, random_state=_TEST_SEED
    )
    examples = Examples(images, labels)
    return Source(examples.take(train), examples.take(test), tuple(str(name) for name in bunch.target_names), "digits")
