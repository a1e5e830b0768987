"""Hyperparameter search and ensembles for PyTorch.

import hpo

result = hpo.search("search_spaces/resnet_digits.yaml", trials=20)
ensemble = hpo.build_ensemble(result.study.name, top=5)
probabilities = hpo.predict(ensemble.name, "images/").probabilities
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from hpo.api import (
        ask_and_tell,
        build_ensemble,
        combine_predictions,
        compare,
        enqueue,
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
        status,
        stop,
        validate,
    )
    from hpo.ensemble.model import Ensemble
    from hpo.reporting import report
    from hpo.schedulers import Decision
    from hpo.study.callbacks import Callback
    from hpo.training import Report, TrialContext
    from hpo.training.optuna_objective import optuna_objective
    from hpo.training.own_training import context

__all__ = [
    "Callback",
    "Decision",
    "Ensemble",
    "Report",
    "TrialContext",
    "ask_and_tell",
    "build_ensemble",
    "combine_predictions",
    "compare",
    "context",
    "enqueue",
    "ensembles",
    "export",
    "open_ensemble",
    "open_study",
    "open_trial",
    "optuna_objective",
    "plan",
    "predict",
    "remove",
    "remove_ensemble",
    "rename",
    "report",
    "reproduce",
    "resume",
    "search",
    "simulate",
    "status",
    "stop",
    "validate",
]


_ELSEWHERE = {
    "Callback": "hpo.study.callbacks",
    "Decision": "hpo.schedulers",
    "Ensemble": "hpo.ensemble.model",
    "Report": "hpo.training",
    "TrialContext": "hpo.training",
    "context": "hpo.training.own_training",
    "optuna_objective": "hpo.training.optuna_objective",
    "report": "hpo.reporting",
}
"""Exported names that are not in `hpo.api`."""


def __getattr__(name: str) -> Any:
    """The public functions, imported when first used: `import hpo` and `hpo --help` stay quick."""
    if name in __all__:
        return getattr(import_module(_ELSEWHERE.get(name, "hpo.api")), name)
    raise AttributeError(f"module 'hpo' has no attribute '{name}'")
