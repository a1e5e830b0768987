"""What adapters say of a library that is missing, and of metrics that are."""

import importlib
import sys
import tomllib

import pytest

from hpo.adapters.extras import extra
from hpo.adapters.metrics import chosen
from hpo.errors import InputError, TrainingError
from tests.conftest import ROOT

ADAPTERS = ("keras", "skorch", "lightgbm", "lightning", "transformers", "xgboost")


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_missing_library_is_told_with_the_command_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not there
    for module in [module for module in sys.modules if module.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, f"hpo.adapters.{name}", raising=False)
    with pytest.raises(InputError, match=f"hpo.adapters.{name} needs '{name}.*pip install 'hpo.{name}.'"):
        importlib.import_module(f"hpo.adapters.{name}")


def test_each_adapter_has_its_extra_and_the_tests_install_it() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras.keys() >= set(ADAPTERS)
    (own,) = (line for line in extras["test"] if line.startswith("hpo["))
    assert set(own.removeprefix("hpo[").removesuffix("]").split(",")) >= set(ADAPTERS)


def test_other_errors_of_a_library_stay_what_they_are() -> None:
    with pytest.raises(ZeroDivisionError), extra("lightning"):
        raise ZeroDivisionError


def test_metrics_are_all_some_or_renamed() -> None:
    found = {"loss": 1.0, "val_loss": 2.0}
    assert chosen(found, None, "it") == found
    assert chosen(found, ["loss"], "it") == {"loss": 1.0}
    assert chosen(found, {"nll": "val_loss"}, "it") == {"nll": 2.0}
    with pytest.raises(TrainingError, match="it has measured no 'los' in this epoch. Did you mean 'loss'"):
        chosen(found, ["los"], "it")
