"""What the programs of a study's trials have printed."""

from hpo.errors import StudyError
from hpo.study.artifacts import PRINTED, printed
from hpo.study.study import Study


def log_of(study: Study, number: int) -> dict[str, str]:
    """What the program of a trial has printed, as far as it is kept: `stdout` and `stderr`.

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
    if not found:
        why = "only those of a program (`command`) have one"
        if study.spec.command is not None:
            why = "its program has printed nothing, it has not ended, or `hpo gc` has removed it"
        raise StudyError(f"trial {number} of study '{study.name}' has no log: {why}")
    return {name.removesuffix(".txt"): found.get(name, b"").decode(errors="replace") for name in PRINTED}
