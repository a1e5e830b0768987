"""Methods that train: bagging, out-of-fold stacking, boosting, distillation, and a deep ensemble.

Each makes jobs for `hpo.engine.members`, reads what they left, and returns a `Retrained`: members with checkpoints,
their validation predictions, a combiner, and an estimate on rows that the members were not trained on. What is trained
lies under `<study>/retrained/<method>/<member>/`; the same call goes on where an earlier one was stopped.
"""

from hpo.retraining.bagging import bagging
from hpo.retraining.boosting import boosting
from hpo.retraining.deep import deep
from hpo.retraining.distillation import Student, distill, read_student
from hpo.retraining.out_of_fold import out_of_fold
from hpo.retraining.retrained import Estimate, Member, Retrained
from hpo.retraining.trainer import Trainer

__all__ = [
    "Estimate",
    "Member",
    "Retrained",
    "Student",
    "Trainer",
    "bagging",
    "boosting",
    "deep",
    "distill",
    "out_of_fold",
    "read_student",
]
