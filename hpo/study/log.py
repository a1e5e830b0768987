"""What a study's trials have printed, and the tracebacks of those that have failed."""

from hpo.errors import StudyError
from hpo.study.artifacts import PRINTED, printed
from hpo.study.study import Study
from hpo.study.trial import State


def log_of(study: Study, number: int) -> dict[str, str]:
    """What a trial has printed, as far as it is kept, `stdout` and `stderr`, and its `traceback` if it has failed.

    Args:
        study: of the trial.
        number: the trial's.

    Raises:
        StudyError: there is no such trial, or it has no log, or that cannot be read.
    """
    trial = study.trial(number)
    try:
        found = printed(study.artifacts.trial(trial.number))
    except OSError as error:
        raise StudyError(f"the log of trial {number} of study '{study.name}' cannot be read: {error}") from None
    traceback = trial.reason if trial.state is State.FAILED and trial.has_traceback and trial.reason else ""
    if not found and not traceback:
        raise StudyError(
            f"trial {number} of study '{study.name}' has no log: it has printed nothing, it has not ended, or `hpo gc`"
            " has removed it"
        )
    texts = {name.removesuffix(".txt"): found.get(name, b"").decode(errors="replace") for name in PRINTED}
    return texts | {"traceback": traceback}
