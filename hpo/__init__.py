"""Hyperparameter search and ensembles for PyTorch.

import hpo

result = hpo.search("search_spaces/resnet_digits.yaml", trials=20)
ensemble = hpo.build_ensemble(result.study.name, top=5)
probabilities = hpo.predict(ensemble.name, "images/").probabilities
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from hpo.api import (
        ask_and_tell,
        build_ensemble,
        combine_predictions,
        compare,
        ensembles,
        export,
        open_ensemble,
        open_study,
        open_trial,
        plan,
        predict,
        remove,
        remove_ensemble,
        rename,
        reproduce,
        resume,
        search,
        simulate,
        validate,
    )
    from hpo.ensemble.model import Ensemble
    from hpo.schedulers import Decision

__all__ = [
    "Decision",
    "Ensemble",
    "ask_and_tell",
    "build_ensemble",
    "combine_predictions",
    "compare",
    "ensembles",
    "export",
    "open_ensemble",
    "open_study",
    "open_trial",
    "plan",
    "predict",
    "remove",
    "remove_ensemble",
    "rename",
    "reproduce",
    "resume",
    "search",
    "simulate",
    "validate",
]


def __getattr__(name: str) -> Any:
    """The public functions, imported when first used: `import hpo` and `hpo --help` stay quick."""
    if name == "Ensemble":
        from hpo.ensemble.model import Ensemble

        return Ensemble
    if name == "Decision":
        from hpo.schedulers import Decision

        return Decision
    if name in __all__:
        from hpo import api

        return getattr(api, name)
    raise AttributeError(f"module 'hpo' has no attribute '{name}'")
