"""The data that a study was made with: whether they are still there, and the same."""

import contextlib
from dataclasses import replace
from pathlib import Path

from hpo import datasets
from hpo.datasets.dataset import Dataset
from hpo.errors import DataError, StudyError
from hpo.spec import SearchSpec, StudySpec
from hpo.study.study import Study


def load(study: Study, data_dir: Path) -> Dataset:
    """The data that a study began with.

    Args:
        study: that they are of.
        data_dir: the folder of downloaded data sets.

    Raises:
        DataError: the data cannot be read.
        StudyError: they have changed since, or the study was simulated.
    """
    spec = study.study_spec
    check_there(study)
    dataset = datasets.of(spec, data_dir)
    if dataset.fingerprint != study.data_summary.fingerprint:
        raise StudyError(
            f"study '{study.name}' was started with other data: '{spec.data.path or spec.data.name}' has changed"
            " since. Put the data back, or run a new search on them"
        )
    remember_place(study, spec)
    return dataset


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
    """Remembers where a spec has the data, if it has any, which were found to be the study's."""
    path = spec.data.path if isinstance(spec, StudySpec) else None
    if path is not None and Path(path) != study.locations.data:
        study.locations = replace(study.locations, data=Path(path))
        with contextlib.suppress(OSError):  # one that can only be read is told again next time
            study.locations.write(study.folder, study.name)
