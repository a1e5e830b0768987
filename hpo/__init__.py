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
        enqueue,
        export,
        open_ensemble,
        open_study,
        plan,
        predict,
        reproduce,
        resume,
        search,
        simulate,
        status,
        stop,
        validate,
    )
    from hpo.ensemble.model import Ensemble
    from hpo.schedulers import Decision
    from hpo.study.callbacks import Callback

__all__ = [
    "Callback",
    "Decision",
    "Ensemble",
    "ask_and_tell",
    "build_ensemble",
    "enqueue",
    "export",
    "open_ensemble",
    "open_study",
    "plan",
    "predict",
    "reproduce",
    "resume",
    "search",
    "simulate",
    "status",
    "stop",
    "validate",
]


def __getattr__(name: str) -> Any:
    """The public functions, imported when first used: `import hpo` and `hpo --help` stay quick."""
    if name == "Ensemble":
        from hpo.ensemble.model import Ensemble

        return Ensemble
    if name == "Callback":
        from hpo.study.callbacks import Callback

        return Callback
    if name == "Decision":
        from hpo.schedulers import Decision

        return Decision
    if name in __all__:
        from hpo import api

        return getattr(api, name)
    raise AttributeError(f"module 'hpo' has no attribute '{name}'")
