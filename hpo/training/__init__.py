"""What is trained and measured: an objective yields one report an epoch, and knows nothing of Ray or of the study."""

from hpo.training.objective import Context, Objective, Report
from hpo.training.prediction import Predictor
from hpo.training.supervised import train

__all__ = ["Context", "Objective", "Predictor", "Report", "train"]
