"""A deep ensemble (Lakshminarayanan et al. 2017): one config, trained again and again from other seeds."""

from hpo.engine.ray.member_training import Job
from hpo.ensemble.retrain.retrained import Retrained, join, survivors, uniform
from hpo.ensemble.retrain.trainer import Trainer
from hpo.errors import InputError

METHOD = "deep"


def deep(trainer: Trainer, members: int = 5) -> Retrained:
    """Trains the study's best config on all training rows from `members` seeds, and averages.

    A member that fails is left out.

    Args:
        trainer: of the study.
        members: how many.

    Raises:
        InputError: there is no member.
        StudyError: the study has no trial.
        HpoError: all members failed.
    """
    if members < 1:
        raise InputError(f"a deep ensemble has at least 1 member, got {members}")
    best = trainer.best()
    jobs = [
        Job(number, f"member {number}", best.config, trainer.seed(METHOD, number), best.number)
        for number in range(members)
    ]
    spec = trainer.spec
    survived, failed = survivors(trainer.train(METHOD, jobs), spec, trainer.dataset)
    combiner = uniform(len(survived), spec.base)
    return join(METHOD, survived, combiner, trainer.dataset, failed=failed)
