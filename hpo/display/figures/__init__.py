"""Figures of an ensemble: pure functions from arrays to a matplotlib figure.

Nothing here knows of a study, a display or matplotlib's global state. A figure's label (`Figure.get_label`) says in
words what it shows, for those who cannot see it; `hpo.display.page` writes it as alternative text. Where models are
compared, they come as a mapping from name to predictions `(rows, outputs)`, the best single trial first.
"""

from hpo.display.figures.confusion import confusion, confusion_matrix
from hpo.display.figures.labels import f1_by_label, f1_scores
from hpo.display.figures.members import diversity, member_names, score_by_members, weights
from hpo.display.figures.regression import regression
from hpo.display.figures.reliability import Bins, calibration_bins, reliability

__all__ = [
    "Bins",
    "calibration_bins",
    "confusion",
    "confusion_matrix",
    "diversity",
    "f1_by_label",
    "f1_scores",
    "member_names",
    "regression",
    "reliability",
    "score_by_members",
    "weights",
]
