"""Blocks of a transformer's encoder (Vaswani et al. 2017, "Attention Is All You Need")."""

from torch import Tensor, nn
from torch.nn import functional

from hpo.models.activations import activation_of


class EncoderBlock(nn.Module):
    """Attention of all tokens to each other, then two layers for each token; both beside a shortcut.

    Normalization comes first in both (Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture"),
    with which a transformer trains at larger learning rates.

    Args:
        heads: of the attention.
        head_width: numbers of a head; a token has `heads * head_width`.
        expansion: how many times as many units the layer between the two has.
        activation: a name of `hpo.models.activations.ACTIVATIONS`.
        dropout: of both, before they are added.
    """

    def __init__(self, heads: int, head_width: int, *, expansion: int, activation: str, dropout: float) -> None:
        super().__init__()
        width = heads * head_width
        self.heads = heads
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.layers = nn.Sequential(
            nn.Linear(width, expansion * width),
            activation_of(activation),
            nn.Dropout(dropout),
            nn.Linear(expansion * width, width),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens `(n, count, width)` -> of the same shape."""
        tokens = tokens + self.dropout(self._attention(self.first_norm(tokens)))
        outputs: Tensor = tokens + self.dropout(self.layers(self.second_norm(tokens)))
        return outputs

    def _attention(self, tokens: Tensor) -> Tensor:
        parts = self.projections(tokens).unflatten(2, (3, self.heads, -1))  # (n, count, 3, heads, head_width)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        outputs: Tensor = self.attended(mixed.transpose(1, 2).flatten(2))
        return outputs
