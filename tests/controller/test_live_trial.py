"""The table of live trials, and which phase may follow which."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.controller.live_trial import LiveTrial, LiveTrials, Phase


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(Phase)), max_size=30))
def test_a_trial_is_in_one_phase_whatever_is_tried(moves: list[tuple[int, Phase]]) -> None:
    live = LiveTrials()
    for number in range(5):
        live.add(LiveTrial(number, Phase.LOST))
    for number, phase in moves:
        before = live[number].phase
        try:
            live.move(number, phase)
        except ValueError:
            assert live[number].phase is before
    by_phase = [live.numbers(phase) for phase in Phase]
    assert sorted(number for numbers in by_phase for number in numbers) == list(range(5))
    assert all(number in live.numbers(live[number].phase) for number in range(5))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Phase.TRAINING, Phase.PAUSED_LOST),
        (Phase.PAUSED, Phase.LOST),
        (Phase.PAUSED, Phase.REPORTED),
        (Phase.PAUSED_LOST, Phase.TRAINING),
        (Phase.LOST, Phase.REPORTED),
    ],
)
def test_what_cannot_happen_is_refused(before: Phase, after: Phase) -> None:
    live = LiveTrials()
    live.add(LiveTrial(3, before))
    with pytest.raises(ValueError, match=f"trial 3 cannot go from '{before.value}' to '{after.value}'"):
        live.move(3, after)


def test_a_number_is_live_once() -> None:
    live = LiveTrials()
    live.add(LiveTrial(0, Phase.LOST))
    with pytest.raises(ValueError, match="trial 0 is live already"):
        live.add(LiveTrial(0, Phase.TRAINING))
    live.remove(0)
    assert not live and live.count(*Phase) == 0
