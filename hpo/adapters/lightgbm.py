"""LightGBM: a callback that reports after rounds of boosting, and lets a trial pause and go on.

from hpo.adapters.lightgbm import ReportCallback

def train(config):
    report = ReportCallback(rounds=200, predictions=(X_val, y_val))
    lightgbm.train(
        config, rows, report.left, valid_sets=[validation], callbacks=[report], init_model=report.model
    )
"""

from typing import Any

from hpo.adapters.boosting import Boosting
from hpo.adapters.extras import extra
from hpo.adapters.metrics import Wanted
from hpo.training import TrialContext

with extra("lightgbm"):
    import lightgbm


class ReportCallback:
    """Reports what LightGBM has measured when an epoch's share of the rounds is done: `valid_0_auc`, say.

    The trial's state is the model as LightGBM's text. A trial that was paused goes on as if it had not been, unless it
    samples rows or columns: those are drawn anew.

    Args:
        rounds: of a full training, spread over the `training.epochs` of the search file.
        metrics: names to report, or the name to report -> `<valid_names>_<metric>`; all where None.
        predictions: validation rows and their targets, `(X, y)`, which make the trial a candidate for ensembles.
        context: of the trial; the one that runs where None.
    """

    order = 25
    """Before LightGBM's own early stopping, whose order is 30, ends the training."""
    before_iteration = False

    def __init__(
        self,
        rounds: int,
        metrics: Wanted = None,
        *,
        predictions: tuple[Any, Any] | None = None,
        context: TrialContext | None = None,
    ) -> None:
        self._boosting = Boosting(rounds, metrics, context)
        self._predictions = predictions

    @property
    def left(self) -> int:
        """What `lightgbm.train` wants as `num_boost_round`."""
        return self._boosting.left

    @property
    def model(self) -> "lightgbm.Booster | None":
        """What `lightgbm.train` wants as `init_model`; None where the trial begins."""
        text = self._boosting.taken_up()
        return None if text is None else lightgbm.Booster(model_str=text)

    def __call__(self, env: "lightgbm.callback.CallbackEnv") -> None:
        """Reports, if an epoch is done."""
        boosting, place = self._boosting, env.iteration - env.begin_iteration
        if boosting.context is None or not boosting.ends_an_epoch(place):
            return
        model: Any = env.model
        if self._predictions is not None:
            rows, targets = self._predictions
            boosting.context.predictions(model.predict(rows), targets)
        metrics = {f"{rows}_{name}": value for rows, name, value, *_ in env.evaluation_result_list or ()}
        boosting.report(place, metrics, model.model_to_string(num_iteration=-1), "LightGBM")
