"""What one asks of a search from another process: to stop, to stop one trial, to try a config, to retry what failed."""

from collections.abc import Mapping
from typing import Any

from hpo.errors import StudyError
from hpo.spec import Config
from hpo.spec.config import checked_config
from hpo.study.folder import check_writable
from hpo.study.study import Study
from hpo.study.trial import LIVE, State
from hpo.study.wishes import RetryTrial, StopSearch, StopTrial, TryConfig


def stop(study: Study, trial: int | None = None) -> str | None:
    """Asks the search of a study to end as by Ctrl-C, or to end one trial.

    Args:
        study: that is searched.
        trial: the number of the one to end; the whole search where None.

    Returns:
        The process that searches the study; None where none does, and the next search is to end the trial.

    Raises:
        StudyError: nobody searches the study, there is no such trial, or it has ended.
    """
    searcher = study.hold.searcher
    if trial is not None:
        state = study.trial(trial).state
        if state not in LIVE:
            raise StudyError(f"trial {trial} of study '{study.name}' has ended already: it is {state.value}")
    elif searcher is None:
        raise StudyError(f"nobody searches study '{study.name}' now, so there is nothing to stop")
    _check_writable(study)
    study.wishes.leave(StopSearch(searcher[0]) if trial is None and searcher is not None else StopTrial(trial or 0))
    return None if searcher is None else searcher[0]


def enqueue(study: Study, config: Mapping[str, Any]) -> Config:
    """Leaves a config for the search of a study to try next, or for its next search.

    Args:
        study: that is searched.
        config: parameter name -> value; the sampler fills in what is missing.

    Returns:
        The config, as its parameters have it.

    Raises:
        SpecError: it is none of the study's.
        StudyError: the study cannot be written.
    """
    checked = checked_config(study.spec, config)
    _check_writable(study)
    study.wishes.leave(TryConfig(checked))
    return checked


def retry_failed(study: Study) -> list[int]:
    """Leaves the failed trials of a study for its search to begin again, each once, unless one was already.

    Returns:
        Their numbers.

    Raises:
        StudyError: `pbt` has bred on without them.
    """
    again = {trial.retry_of for trial in study.trials()}
    again |= {wish.number for wish in study.wishes.waiting().values() if isinstance(wish, RetryTrial)}
    failed = [it.number for it in study.trials() if it.state is State.FAILED and it.number not in again]
    if failed and study.spec.scheduler.name == "pbt":
        raise StudyError(
            f"study '{study.name}': its scheduler 'pbt' has gone on without the trials that failed, and a population"
            " takes none in later; leave --retry-failed out"
        )
    for number in failed:
        study.wishes.leave(RetryTrial(number))
    return failed


def _check_writable(study: Study) -> None:
    if not study.is_in_memory:
        check_writable(study.folder.parent, study.folder.name)
