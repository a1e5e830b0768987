"""Optuna's own tests of any sampler; releases before 4.8 bring none, and then these classes are empty."""

from importlib.util import find_spec

if find_spec("optuna.testing.pytest_samplers") is not None:
    from optuna.testing.pytest_samplers import (
        BasicSamplerTestCase,
        MultiObjectiveSamplerTestCase,
        RelativeSamplerTestCase,
        SingleOnlySamplerTestCase,
    )
else:

    class BasicSamplerTestCase: ...  # type: ignore[no-redef]

    class MultiObjectiveSamplerTestCase: ...  # type: ignore[no-redef]

    class RelativeSamplerTestCase: ...  # type: ignore[no-redef]

    class SingleOnlySamplerTestCase: ...  # type: ignore[no-redef]


__all__ = [
    "BasicSamplerTestCase",
    "MultiObjectiveSamplerTestCase",
    "RelativeSamplerTestCase",
    "SingleOnlySamplerTestCase",
]
