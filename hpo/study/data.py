"""The data that a study was made with: whether they are still there, and the same."""

import contextlib
from dataclasses import replace
from pathlib import Path

from hpo import datasets
from hpo.datasets.dataset import Dataset
from hpo.errors import DataError, StudyError
from hpo.spec import SearchSpec, StudySpec
from hpo.study.study import Study


def load(study: Study, data_dir: Path, *, trains: bool = False) -> Dataset:
    """The data that a study began with.

    Args:
        study: that they are of.
        data_dir: the folder of downloaded data sets.
        trains: whether something is trained on them, so that the weights are needed that training begins from.

    Raises:
        DataError: the data, or these weights, cannot be read.
        StudyError: they have changed since, or the study was simulated.
    """
    spec = study.study_spec
    check_there(study)
    dataset = datasets.of(spec, data_dir) if trains else datasets.rows_of(spec, data_dir)
    if dataset.fingerprint != study.data_summary.fingerprint:
        raise StudyError(
            f"study '{study.name}' was started with other data: '{spec.data.path or spec.data.name}' has changed"
            " since. Put the data back, or run a new search on them"
        )
    if trains:
        check_weights(study, spec, dataset)
    remember_place(study, spec)
    return dataset


def check_weights(study: Study, spec: StudySpec, dataset: Dataset) -> None:
    """Holds the weights that training begins from to be those that a study began with.

    Raises:
        StudyError: the file has changed since.
    """
    if dataset.pretrained is not None and dataset.pretrained.digest != study.data_summary.weights:
        raise StudyError(
            f"study '{study.name}' was started with other weights: '{spec.model.weights}' has changed since. Put the"
            " file back, or give a new search a name of its own with --study"
        )


def check_there(study: Study) -> None:
    """Looks whether the file or folder of a study's data set is where it was.

    Raises:
        DataError: it is not.
    """
    path = study.spec.data.path if isinstance(study.spec, StudySpec) else None
    if path is not None and not Path(path).exists():
        raise DataError(
            f"the data of study '{study.name}' are not at '{path}' any more; --data-path says where they are now"
        )


def remember_place(study: Study, spec: SearchSpec) -> None:
    """Remembers where a spec has the data and weights, if it has any, which were found to be the study's."""
    if not isinstance(spec, StudySpec):
        return
    known = study.locations
    data, weights = (None if path is None else Path(path) for path in (spec.data.path, spec.model.weights))
    found = replace(known, data=data or known.data, weights=weights or known.weights)
    if (found.data, found.weights) != (known.data, known.weights):
        study.locations = found
        with contextlib.suppress(OSError):  # one that can only be read is told again next time
            study.locations.write(study.folder, study.name)
