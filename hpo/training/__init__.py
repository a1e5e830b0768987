"""What is trained and measured: a training function reports each epoch, and knows nothing of Ray or of the study."""

from hpo.training.function import Context, Report, Snapshot, TrainingFunction
from hpo.training.prediction import Predictor
from hpo.training.supervised import train
from hpo.training.trial_context import TrialContext

__all__ = ["Context", "Predictor", "Report", "Snapshot", "TrainingFunction", "TrialContext", "train"]
