"""What a search keeps between itself and the storage of its study, so that a trial costs the same in any study.

A search is the only one that writes to its study's trials. So it reads each trial once, and again only after it has
changed it: `CachedStorage`, over any storage of Optuna's.
"""

import copy
from collections.abc import Container, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.study._frozen import FrozenStudy
from optuna.study._study_direction import StudyDirection
from optuna.trial import FrozenTrial, TrialState


@runtime_checkable
class Together(Protocol):
    """A storage several of whose writes can be one."""

    def together(self) -> AbstractContextManager[None]:
        """What is written within goes out at its end."""


class CachedStorage(BaseStorage):
    """A storage to whose trials nobody else writes: a trial that was not changed is the same object as before.

    Args:
        inner: where everything is.
    """

    def __init__(self, inner: BaseStorage) -> None:
        self.inner = inner
        self._trials: dict[int, list[FrozenTrial]] = {}
        """Study -> its trials, by number."""
        self._touched: dict[int, list[int]] = {}
        """Study -> the number of a trial for each time that it was read."""
        self._places: dict[int, tuple[int, int]] = {}
        """Trial -> its study and number there."""
        self._changed: set[int] = set()
        self._waiting: set[int] = set()

    def together(self) -> AbstractContextManager[None]:
        """What is written within may be flushed at once, at the end."""
        inner = self.inner._backend if isinstance(self.inner, JournalStorage) else self.inner
        return inner.together() if isinstance(inner, Together) else nullcontext()

    # ---- trials: read once --------------------------------------------------------------------------------------

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """A study's trials, by number."""
        trials = self._read(study_id)
        if states == (TrialState.WAITING,):  # asked for before every trial, and there is hardly ever one
            waiting = [self._places[trial_id] for trial_id in self._waiting]
            found = [trials[number] for study, number in sorted(waiting) if study == study_id]
        else:
            found = list(trials) if states is None else [trial for trial in trials if trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def log(self, study_id: int) -> tuple[Sequence[FrozenTrial], Sequence[int]]:
        """A study's trials by number, and the number of one for each time that it has changed, its first included.

        Both go on as the study does. A copy of a long list, or a look at each of its trials, costs more than a report.
        """
        return self._read(study_id), self._touched[study_id]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """One trial."""
        if trial_id not in self._places:
            return self.inner.get_trial(trial_id)
        study_id, number = self._places[trial_id]
        return self._read(study_id)[number]

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """The id of a trial."""
        trials = self._read(study_id)
        if not 0 <= trial_number < len(trials):
            raise KeyError(f"no trial {trial_number}")
        return trials[trial_number]._trial_id

    def get_n_trials(self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None) -> int:
        """How many trials there are."""
        states = (state,) if isinstance(state, TrialState) else state
        return len(self.get_all_trials(study_id, deepcopy=False, states=states))

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Adds a trial."""
        trials = self._read(study_id)
        trial_id = self.inner.create_new_trial(study_id, template_trial)
        self._enter(self.inner.get_trial(trial_id), study_id, len(trials))
        return trial_id

    def _read(self, study_id: int) -> list[FrozenTrial]:
        if study_id not in self._trials:
            self._trials[study_id], self._touched[study_id] = [], []
            for number, trial in enumerate(self.inner.get_all_trials(study_id, deepcopy=False)):
                self._enter(trial, study_id, number)
        for trial_id in list(self._changed):
            self._enter(self.inner.get_trial(trial_id), *self._places[trial_id])
        self._changed.clear()
        return self._trials[study_id]

    def _enter(self, trial: FrozenTrial, study_id: int, number: int) -> None:
        trials = self._trials[study_id]
        self._places[trial._trial_id] = (study_id, number)
        if trial.state is TrialState.WAITING:
            self._waiting.add(trial._trial_id)
        else:
            self._waiting.discard(trial._trial_id)
        trials[number : number + 1] = [trial]
        self._touched[study_id].append(number)

    # ---- trials: written through --------------------------------------------------------------------------------

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Writes a parameter."""
        self._changed.add(trial_id)
        self.inner.set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Writes the state, and how a trial ended."""
        self._changed.add(trial_id)
        return self.inner.set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Writes a report."""
        self._changed.add(trial_id)
        self.inner.set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Writes an attribute."""
        self._changed.add(trial_id)
        self.inner.set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Writes an attribute of Optuna's own."""
        self._changed.add(trial_id)
        self.inner.set_trial_system_attr(trial_id, key, value)

    # ---- studies: passed on -------------------------------------------------------------------------------------

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Passed on."""
        return self.inner.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        """Passed on."""
        self.inner.delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Passed on."""
        self.inner.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Passed on."""
        self.inner.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Passed on."""
        return self.inner.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Passed on."""
        return self.inner.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Passed on."""
        return self.inner.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Passed on."""
        return self.inner.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Passed on."""
        return self.inner.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        """Passed on."""
        return self.inner.get_all_studies()

    def remove_session(self) -> None:
        """Passed on."""
        self.inner.remove_session()

    def check_trial_is_updatable(self, trial_id: int, trial_state: TrialState) -> None:
        """Passed on."""
        self.inner.check_trial_is_updatable(trial_id, trial_state)
