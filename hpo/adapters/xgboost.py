"""XGBoost: a callback that reports after rounds of boosting, and lets a trial pause and go on.

from hpo.adapters.xgboost import ReportCallback

def train(config):
    report = ReportCallback(rounds=200, predictions=validation)
    xgboost.train(
        config, rows, report.left, evals=[(validation, "val")], callbacks=[report], xgb_model=report.model
    )
"""

from collections.abc import Mapping
from typing import Any

from hpo.adapters.boosting import Boosting
from hpo.adapters.extras import extra
from hpo.adapters.metrics import Wanted
from hpo.training import TrialContext

with extra("xgboost"):
    import xgboost


class ReportCallback(xgboost.callback.TrainingCallback):
    """Reports what XGBoost has measured when an epoch's share of the rounds is done: `val_logloss` of `val`.

    The trial's state is the model as XGBoost's JSON. A trial that was paused goes on as if it had not been, unless it
    samples rows or columns: those are drawn anew.

    Args:
        rounds: of a full training, spread over the `training.epochs` of the search file.
        metrics: names to report, or the name to report -> `<evals>_<metric>`; all where None.
        predictions: validation rows with labels, whose predictions make the trial a candidate for ensembles. The
            objective must give probabilities of all classes (`multi:softprob`, `binary:logistic`) or values.
        context: of the trial; the one that runs where None.
    """

    def __init__(
        self,
        rounds: int,
        metrics: Wanted = None,
        *,
        predictions: "xgboost.DMatrix | None" = None,
        context: TrialContext | None = None,
    ) -> None:
        self._boosting = Boosting(rounds, metrics, context)
        self._predictions = predictions

    @property
    def left(self) -> int:
        """What `xgboost.train` wants as `num_boost_round`."""
        return self._boosting.left

    @property
    def model(self) -> "xgboost.Booster | None":
        """What `xgboost.train` wants as `xgb_model`; None where the trial begins."""
        text = self._boosting.taken_up()
        if text is None:
            return None
        booster = xgboost.Booster()
        booster.load_model(bytearray(text.encode()))
        return booster

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, Any]]) -> bool:
        """Reports, if an epoch is done; XGBoost goes on in any case."""
        boosting = self._boosting
        if boosting.context is None or not boosting.ends_an_epoch(epoch):
            return False
        if self._predictions is not None:
            boosting.context.predictions(model.predict(self._predictions), self._predictions.get_label())
        metrics = {f"{rows}_{name}": values[-1] for rows, log in evals_log.items() for name, values in log.items()}
        boosting.report(epoch, metrics, bytes(model.save_raw("json")).decode(), "XGBoost")
        return False
