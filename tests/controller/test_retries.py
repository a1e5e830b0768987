"""What a failure of each kind leads to."""

import time

import pytest

from hpo.controller.live_trial import LiveTrial, Phase
from hpo.controller.retries import Retries
from hpo.spec import Failures
from hpo.study.study import Study
from hpo.study.trial import Failure, Outcome, State


def live() -> LiveTrial:
    return LiveTrial(0, Phase.TRAINING)


@pytest.mark.parametrize("kind", [Failure.ERROR, Failure.DEATH, Failure.HANG])
def test_a_trial_restarts_as_often_as_the_rules_say(kind: Failure) -> None:
    retries, trial = Retries(Failures(max_retries=2), delay=0.0), live()
    assert [retries.after_failure(trial, earlier, kind, "why") for earlier in (0, 1)] == [None, None]
    assert retries.after_failure(trial, 2, kind, "why") == Outcome(State.FAILED, "why", kind)
    assert not trial.alone


def test_each_retry_waits_twice_as_long_up_to_a_minute() -> None:
    retries, trial, waits = Retries(Failures(max_retries=20), delay=1.0), live(), []
    for earlier in range(9):
        retries.after_failure(trial, earlier, Failure.ERROR, "why")
        waits.append(round(trial.not_before - time.monotonic()))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 64, 64]


def test_without_memory_it_restarts_once_alone_whatever_the_rules_say() -> None:
    retries, trial = Retries(Failures(max_retries=0), delay=0.0), live()
    assert retries.after_failure(trial, 0, Failure.MEMORY, "too big") is None and trial.alone
    assert retries.after_failure(trial, 1, Failure.MEMORY, "too big") is not None


def test_only_failures_in_a_row_end_a_search(study: Study) -> None:
    retries = Retries(Failures(max_failures=2))
    failed, complete = study.trial(4), study.trial(0)
    assert retries.count_end(failed) is None
    assert retries.count_end(complete) is None
    assert retries.count_end(failed) is None
    assert retries.count_end(failed) == (
        "the last 2 trials failed one after another, so the search has ended; 2 of them: ValueError: no"
    )


def test_a_trial_hangs_after_the_time_that_it_may_be_silent() -> None:
    trial = live()
    trial.heard = time.monotonic() - 10
    assert Retries(Failures(trial_timeout=5)).hangs(trial)
    assert not Retries(Failures(trial_timeout=60)).hangs(trial)
    assert not Retries(Failures()).hangs(trial)
