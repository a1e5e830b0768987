"""Hyperparameter search and ensembles for PyTorch.

import hpo

result = hpo.search("search_spaces/resnet_digits.yaml", trials=20)
ensemble = hpo.build_ensemble(result.study.name, top=5)
probabilities = hpo.predict(ensemble.name, "images/").probabilities
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hpo.api import build_ensemble, open_study, plan, predict, search, simulate, validate

__all__ = ["build_ensemble", "open_study", "plan", "predict", "search", "simulate", "validate"]


def __getattr__(name: str) -> Any:
    """The public functions, imported when first used: `import hpo` and `hpo --help` stay quick."""
    if name in __all__:
        from hpo import api

        return getattr(api, name)
    raise AttributeError(f"module 'hpo' has no attribute '{name}'")
