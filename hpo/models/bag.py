"""A bag of embeddings: the mean over the steps of a text, a clip or a series, and a perceptron behind it."""

from torch import Tensor, nn

from hpo.models.mlp import mlp
from hpo.models.steps import Steps, mean_over


class Bag(nn.Module):
    """The mean of embedded steps, whatever their order, and a perceptron (fastText: Joulin et al. 2017).

    Args:
        steps: embeds each step.
        head: maps means `(n, width)` to outputs.
    """

    def __init__(self, steps: Steps, head: nn.Module) -> None:
        super().__init__()
        self.steps, self.head = steps, head

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Outputs `(n, outputs)` of codes `(n, steps)` or numbers `(n, steps, channels)`."""
        outputs: Tensor = self.head(mean_over(self.steps(inputs), mask))
        return outputs


def bag(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    vocabulary: int = 0,
    embedding: int = 64,
    layers: int = 1,
    width: int = 64,
    dropout: float = 0.2,
) -> nn.Module:
    """The mean of `embedding` numbers a step, then `layers` hidden layers of `width` units, with `dropout`.

    Args:
        input_shape: (length,) of texts, (steps, channels) of sound and series.
        outputs: how many numbers a row of the output has.
        vocabulary: how many codes of tokens there are; 0 where the inputs are numbers.
        embedding: numbers for each step.
        layers: hidden layers behind the mean, 0 or more.
        width: units of each.
        dropout: the share of numbers that is left out, in [0, 1).

    Raises:
        ValueError: a setting is out of its range, or the inputs have no steps.
    """
    steps = Steps(input_shape, vocabulary, embedding, dropout)
    if layers == 0:
        return Bag(steps, nn.Linear(embedding, outputs))
    return Bag(steps, mlp((embedding,), outputs, layers=layers, width=width, dropout=dropout))
