"""Methods that train: bagging, out-of-fold stacking, boosting, distillation, and a deep ensemble.

Each makes jobs for `hpo.engine.ray.member_training`, reads what they left, and returns a `Retrained`: members with
checkpoints, their validation predictions, a combiner, and an estimate on rows that the members were not trained on.
What is trained lies under `<study>/retrained/<method>/<member>/`; the same call goes on where an earlier one was
stopped.
"""

from hpo.ensemble.retrain.bagging import bagging
from hpo.ensemble.retrain.boosting import boosting
from hpo.ensemble.retrain.deep import deep
from hpo.ensemble.retrain.distillation import Student, distill, read_student
from hpo.ensemble.retrain.out_of_fold import out_of_fold
from hpo.ensemble.retrain.retrained import Estimate, Retrained, TrainedMember
from hpo.ensemble.retrain.single import single
from hpo.ensemble.retrain.trainer import Trainer

__all__ = [
    "Estimate",
    "Retrained",
    "Student",
    "TrainedMember",
    "Trainer",
    "bagging",
    "boosting",
    "deep",
    "distill",
    "out_of_fold",
    "read_student",
    "single",
]
