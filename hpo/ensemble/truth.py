"""The truth of a study's rows: of its data, or as its training function has given it."""

from collections.abc import Iterable

import numpy as np

from hpo.errors import StudyError
from hpo.spec import StudySpec
from hpo.study.artifacts import Stored
from hpo.study.study import Study
from hpo.study.trial import TrialRecord
from hpo.study.truth import Truth

_NONE = (
    "study '{study}' has no trial with predictions to build an ensemble of: let its training function call"
    " context.predictions(probabilities, targets) before it reports an epoch, and search again"
)


def truth_of(study: Study, ranked: Iterable[TrialRecord]) -> Truth:
    """The truth of a study's rows: that of its data, or of the first trial that has given it.

    Args:
        study: whose rows.
        ranked: its trials, the best first.

    Raises:
        StudyError: no trial has given predictions, or what the first one has given is damaged.
    """
    if isinstance(study.spec, StudySpec):
        return study.data_summary
    for trial in ranked:
        try:
            stored = study.artifacts.read(trial.number)
            if stored is not None and "validation" in stored.splits:
                return _given(stored, study.spec.base)
        except (OSError, ValueError, EOFError) as error:
            raise StudyError(
                f"study '{study.name}', trial {trial.number}: its targets cannot be read: {error}"
            ) from None
    raise StudyError(_NONE.format(study=study.name))


def other_targets(stored: Stored, truth: Truth) -> str | None:
    """Why what a trial has given is of other rows than the truth; None where it is of the same.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    for split in truth.targets:
        if split not in stored.splits:
            return f": it has given no {split} predictions, which better trials have"
        if not np.array_equal(stored.targets(split), truth.targets[split]):
            return f": its {split} targets are others than those of better trials; give the same rows in each trial"
    return None


def _given(stored: Stored, task: str) -> Truth:
    targets = {split: stored.targets(split) for split in sorted(stored.splits, reverse=True)}
    outputs = stored.predictions("validation").shape[1]
    truth = Truth(tuple(str(place) for place in range(outputs)), targets)
    truth.check(task)
    return truth
