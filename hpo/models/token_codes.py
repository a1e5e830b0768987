"""Texts as a network takes them: the first layer of a model of tokens."""

import torch
from torch import Tensor, nn

from hpo.tasks.features import Tokens


class TokenCodes(nn.Module):
    """Codes of tokens `(n, length)` as whole numbers, and where tokens are.

    Args:
        input_shape: (length,), the most tokens of a text.
        feature: says how many codes there are.
    """

    def __init__(self, input_shape: tuple[int, ...], feature: Tokens) -> None:
        super().__init__()
        self.gives = input_shape
        """The shape of an example that the network is given."""
        self.vocabulary = feature.vocabulary

    def forward(self, inputs: Tensor) -> Tensor:
        """Codes as int64; one that the vocabulary has not is an unknown token."""
        codes = inputs.long()
        return torch.where((codes >= 0) & (codes < self.vocabulary), codes, Tokens.UNKNOWN)

    def mask(self, inputs: Tensor) -> Tensor:
        """True `(n, length)` where a token is."""
        return inputs != Tokens.PADDING

    def blank(self, rows: int) -> Tensor:
        """Texts of unknown tokens, as a network is tried with."""
        return torch.full((rows, self.gives[0]), float(Tokens.UNKNOWN))
