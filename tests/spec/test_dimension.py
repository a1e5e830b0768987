"""Parameters that are recorded in another way than trials get them."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hpo.spec import Parameter
from hpo.spec.dimension import Dimension, dimension, distribution

PARAMETERS: dict[str, dict[str, Any]] = {
    "lists": {"values": [[64, 64], [128, 64, 32], 7, None, "x", [[1, 2], [3]]]},
    "orders": {"permutation": ["crop", "flip", 3]},
    "steps": {"min": 1e-4, "max": 1, "log": True, "steps": 5},
    "whole steps": {"type": "int", "min": 1, "max": 100, "steps": 4},
    "log step": {"min": 0.5, "max": 8, "log": True, "step": 0.5},
    "whole log step": {"type": "int", "min": 8, "max": 512, "log": True, "step": 8},
    "normal": {"normal": [0.3, 0.1]},
    "bounded normal": {"normal": [5, 100], "min": 0, "max": 6},
    "whole normal": {"type": "int", "normal": [64, 16]},
    "lognormal": {"lognormal": [-3, 1]},
    "whole lognormal": {"type": "int", "lognormal": [0, 1], "min": 1, "max": 9},
    "plain": {"min": 0, "max": 1},
}


def drawn(one: Dimension, unit: float) -> Any:
    """What a sampler might record at a place of the whole."""
    own = one.recorded
    if own.values is not None:
        return own.values[min(int(unit * len(own.values)), len(own.values) - 1)]
    low, high = map(float, own.bounds)
    value = math.exp(math.log(low) + unit * math.log(high / low)) if own.log else low + unit * (high - low)
    value = min(max(value, low), high)
    return round(value) if own.type == "int" else value


@pytest.mark.parametrize("name", PARAMETERS)
@given(unit=st.floats(0, 1))
def test_what_is_recorded_is_one_value_of_the_parameter(name: str, unit: float) -> None:
    one = dimension(Parameter(**PARAMETERS[name]))
    recorded = one.settled(drawn(one, unit))
    value = one.value(recorded)
    assert one.parameter.contains(value), (recorded, value)
    assert one.recorded.contains(recorded)
    assert distribution(one.recorded)._contains(distribution(one.recorded).to_internal_repr(recorded))
    assert one.settled(recorded) == recorded
    again = one.encoded(value)
    assert one.value(again) == value
    assert again == pytest.approx(recorded, abs=1e-9) if isinstance(recorded, float) else again == recorded


@pytest.mark.parametrize("name", [name for name in PARAMETERS if "normal" not in name and name != "plain"])
def test_all_values_are_listed(name: str) -> None:
    one = dimension(Parameter(**PARAMETERS[name]))
    choices = one.choices(1000)
    assert (choices is not None and one.choices(1) is None) or one.recorded.values is not None
    values = [one.value(choice) for choice in choices or ()]
    assert all(map(one.parameter.contains, values)) and len({repr(value) for value in values}) == len(values)
    count = {"lists": 6, "orders": 6, "steps": 5, "whole steps": 4, "log step": 16, "whole log step": 64}
    assert len(values) == count[name]


def test_steps_are_even_on_the_scale_and_plain_numbers() -> None:
    assert Parameter(min=1e-4, max=1, log=True, steps=5).grid == [1e-4, 1e-3, 0.01, 0.1, 1.0]
    assert Parameter(min=0, max=1, steps=5).grid == [0, 0.25, 0.5, 0.75, 1]
    whole = Parameter(type="int", min=1, max=3, steps=9).grid
    assert whole == [1, 2, 3] and all(isinstance(value, int) for value in whole)


@pytest.mark.parametrize("mean, deviation, low, high", [(0.3, 0.1, None, None), (5, 100, 0, 6), (-2, 1, -1, 4)])
def test_uniform_shares_are_normal_values(mean: float, deviation: float, low: float, high: float) -> None:
    bounds: dict[str, Any] = {name: bound for name, bound in (("min", low), ("max", high)) if bound is not None}
    one = dimension(Parameter(normal=(mean, deviation), **bounds))
    values = [one.value(share) for share in np.linspace(0, 1, 4001)]
    least, most = one.parameter.bounds
    expected = stats.truncnorm((least - mean) / deviation, (most - mean) / deviation, mean, deviation)
    assert stats.kstest(values, expected.cdf).statistic < 0.001
    assert values == sorted(values) and (values[0], values[-1]) == (pytest.approx(least), pytest.approx(most))


def test_uniform_shares_of_a_lognormal_are_normal_on_the_logarithm() -> None:
    one = dimension(Parameter(lognormal=(-3, 1)))
    logs = [math.log(one.value(share)) for share in np.linspace(0, 1, 4001)]
    assert stats.kstest(logs, stats.truncnorm(-4, 4, -3, 1).cdf).statistic < 0.001


def test_whole_numbers_have_the_mass_around_them() -> None:
    one = dimension(Parameter(type="int", normal=(2, 1), min=0, max=4))
    values = [one.value(share) for share in np.linspace(0, 1, 10_001)]
    shares = [values.count(number) / len(values) for number in range(5)]
    masses = np.diff(stats.norm(2, 1).cdf(np.arange(-0.5, 5)))
    assert shares == pytest.approx(list(masses / masses.sum()), abs=2e-3)
    assert one.choices(5) is not None and [one.value(share) for share in one.choices(5) or ()] == [0, 1, 2, 3, 4]


def test_a_default_comes_back_as_it_was_written() -> None:
    for default in (0.3, 0.123, 0.05, 0.6):
        one = dimension(Parameter(normal=(0.3, 0.1), default=default))
        assert one.value(one.recorded.default) == default


def test_a_trial_gets_a_list_of_its_own() -> None:
    one = dimension(Parameter(values=((1, 2), (3,))))
    one.value("[1, 2]").append(9)
    assert one.value("[1, 2]") == [1, 2]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"values": [[1], "[1]"]}, "as a list and as a text"),
        ({"values": [[1, 2], [1, 2]]}, r"has \[1, 2\] twice"),
        ({"values": [[1, {}]]}, "or a list of these"),
        ({"values": [[float("nan")]]}, "or a list of these"),
        ({"values": [[1], [2]], "default": [3]}, r"default \[3\] is not in {\[1\], \[2\]}"),
        ({"permutation": [1]}, "has 2 to 6 items"),
        ({"permutation": list(range(7))}, "has 2 to 6 items, of which there are up to 720 orders, got 7"),
        ({"permutation": [1, 1]}, "'permutation' has 1 twice"),
        ({"permutation": [1, 2], "default": [1]}, "is not in the orders of"),
        ({"permutation": [1, 2], "prior": [1, 2]}, "'permutation' does not go with prior"),
        ({"normal": [0, 0]}, "must be above 0, got 0"),
        ({"normal": [0, 1], "log": True}, "'normal' does not go with log"),
        ({"normal": [0, 1], "lognormal": [0, 1]}, "'normal' does not go with lognormal"),
        ({"lognormal": [0, 1], "min": -1}, "has values above 0 alone"),
        ({"lognormal": [0, 1000]}, "bounds must be within"),
        ({"normal": [0, 1], "min": 8, "max": 9}, "leave less than 1e-06 of the distribution"),
        ({"normal": [0, 1], "min": 3, "max": 2}, "min must not be above max"),
        ({"normal": [0, 1], "default": 7}, r"default 7 is not in \[-4, 4\] normal"),
        ({"min": 0, "max": 1, "steps": 1}, "steps"),
        ({"min": 0, "max": 1, "steps": 3, "step": 0.5}, "leave one out"),
        ({"min": 0, "max": 1, "steps": 3, "default": 0.3}, "is not in .* in 3 steps"),
        ({"min": 1, "max": 2, "log": True, "step": 0.3}, "min plus a multiple of step"),
        ({"equals": "2 * x", "min": 1}, "'equals' does not go with min"),
        ({"equals": 4}, "a fixed value is a setting"),
        ({"equals": "4 + 4"}, "names no parameter"),
        ({"equals": "x > 3"}, "is true or false"),
        ({"equals": "x +"}, "is no expression"),
    ],
)
def test_what_is_wrong_with_one_is_a_sentence(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Parameter(**given)
