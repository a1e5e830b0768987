"""A small Vision Transformer (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words")."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.models.attention import EncoderBlock
from hpo.models.rules import check_dropout, check_sizes, image_shape, one_of

_POOLINGS = ("mean", "token")
_DEVIATION = 0.5
"""Deviation of positions and of the class token at the beginning, about that of the patches.

With 0.02, as in the paper, a small network tells places apart only after hundreds of steps (docs/search_spaces.md).
"""


def vit(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    patch: int = 4,
    depth: int = 6,
    heads: int = 4,
    head_width: int = 32,
    expansion: int = 2,
    pooling: str = "mean",
    activation: str = "gelu",
    dropout: float = 0.0,
) -> nn.Module:
    """Square patches of the image as tokens, `depth` blocks of an encoder over them, and one linear layer.

    Args:
        input_shape: (channels, height, width); an image that patches do not divide is filled up with its mean to the
            right and below.
        outputs: the number of classes, labels or targets.
        patch: pixels of a side of a patch; of half the size there are four times as many.
        depth: blocks of the encoder.
        heads: of each attention.
        head_width: numbers of a head; a token has `heads * head_width`, so that every combination is valid.
        expansion: units of a block's hidden layer, as a multiple of a token's; 4 in the paper.
        pooling: what the last layer sees: `mean`, of all tokens (Beyer et al. 2022, "Better plain ViT baselines"), or
            `token`, a class token as in the paper.
        activation: gelu, as in the paper, or another one.
        dropout: in all blocks, and behind the positions.

    Raises:
        ValueError: a setting or the input breaks a rule.
    """
    check_sizes(patch=patch, depth=depth, heads=heads, head_width=head_width, expansion=expansion)
    check_dropout(dropout)
    image_shape(input_shape, "vit", patch, f"has patches of {patch}x{patch} pixels")
    one_of("pooling", pooling, _POOLINGS)
    blocks = [
        EncoderBlock(heads, head_width, expansion=expansion, activation=activation, dropout=dropout)
        for _ in range(depth)
    ]
    return VisionTransformer(input_shape, outputs, patch, heads * head_width, blocks, pooling == "token", dropout)


class VisionTransformer(nn.Module):
    """Patches, positions, blocks, normalization, one linear layer.

    Args:
        input_shape: (channels, height, width).
        outputs: of the last layer.
        patch: pixels of a side.
        width: numbers of a token.
        blocks: of the encoder.
        has_token: whether a class token is in front of the patches, and predicts.
        dropout: behind the positions.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        patch: int,
        width: int,
        blocks: list[EncoderBlock],
        has_token: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        channels, height, side = input_shape
        self.padding = (0, -side % patch, 0, -height % patch)  # left, right, above, below
        count = -(-height // patch) * -(-side // patch)
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width)) if has_token else None
        self.positions = nn.Parameter(torch.zeros(1, count, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)
        self._initialize()

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(n, outputs)` of images `(n, c, h, w)`."""
        tokens = self.patches(functional.pad(images, self.padding)).flatten(2).transpose(1, 2) + self.positions
        if self.token is not None:
            tokens = torch.cat([self.token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        tokens = self.norm(self.blocks(self.dropout(tokens)))
        logits: Tensor = self.head(tokens.mean(dim=1) if self.token is None else tokens[:, 0])
        return logits

    def _initialize(self) -> None:
        """Draws weights as the paper's code does, Glorot's in linear layers, but for positions and the token."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for parameter in (self.positions, self.token):
            if parameter is not None:
                nn.init.trunc_normal_(parameter, std=_DEVIATION)
