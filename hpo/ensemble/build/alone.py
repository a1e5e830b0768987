"""A stored trial as an ensemble of one, which is written nowhere that stays."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hpo.ensemble import model
from hpo.ensemble.build.draft import from_pool
from hpo.ensemble.build.own_code import import_own_code
from hpo.ensemble.method_choice import SINGLE, choose
from hpo.ensemble.pool import Pool
from hpo.study.artifacts import Folder
from hpo.study.study import Study


def stored_trial(study: Study, number: int | None = None) -> model.Ensemble:
    """A trial as `--method single` makes it, without a score on test rows: calibrated, for regression with an interval.

    Args:
        study: that the trial is of.
        number: of the trial; the incumbent where None.

    Raises:
        InputError: its model is of the user's own and is not trusted, or there are too few validation rows.
        StudyError: there is no such trial, or it has stored nothing.
        DataError: what it has stored cannot be used.
    """
    import_own_code(study)  # what is not trusted is refused before anything is done
    number = study.best_trial.number if number is None else number
    pool = Pool.load(study, 1, least=1, wanted=number)
    pool = pool.only([pool.place(number)])
    draft = from_pool(
        pool,
        choose(SINGLE, pool.validation, pool.targets, 1, task=pool.task, overlap=pool.overlap, spreads=pool.spreads),
    )
    with TemporaryDirectory() as folder:
        own = Folder(Path(folder)) / f"{study.name}-trial-{number}"
        model.write(own, study.spec, pool.truth, draft.parts, draft.combiner, draft.interval)
        return model.Ensemble(own)
