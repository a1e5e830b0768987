"""`ensemble.json`, validated like a spec: what is in a stored file may have been written by anyone."""

from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from hpo.spec import MOST_COPIES

Size = Annotated[int, Field(ge=1, le=2**20)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Part(BaseModel):
    """An object in which other keys are for other readers."""

    model_config = ConfigDict(frozen=True, strict=True)


class ModelPart(_Part):
    """A member's model: a name, and keyword arguments."""

    name: str
    settings: dict[str, Any]


class MemberPart(_Part):
    """A member of the ensemble."""

    name: str
    trial: int | None
    file: Annotated[str, Field(pattern=r"^member-\d{2,}\.(safetensors|pt)$")]
    weight: Number
    temperature: Positive
    model: ModelPart | None = None
    copies: Annotated[int, Field(ge=1, le=MOST_COPIES**2)] = 1
    """How many trainings of its config it is the mean of."""
    config: dict[str, Any] | None = None


class IntervalPart(_Part):
    """Half-widths of an interval around regression values."""

    level: Annotated[float, Field(gt=0, lt=1)]
    half_widths: tuple[Number, ...]
    relative: bool = False


class Document(_Part):
    """The whole file; the combiner and the encoding have readers of their own."""

    task: Literal["classification", "multilabel", "regression"]
    """The base of the task: what predictions are."""
    activate: str | None = None
    """The import path of a task of the user's own by which outputs of networks become predictions; None where the base
    does it."""
    outputs: Annotated[tuple[str, ...], Field(min_length=1)]
    input_shape: tuple[Size, ...] | None = None
    """None where a training function of the user's own has its own data."""
    predict: str | None = None
    """The import path of the function that predicts with what members have kept, where they have no models."""
    input_type: Literal["uint8", "float32", "float64", "int32", "int16"] | None = None
    encoding: dict[str, Any] | None = None
    members: Annotated[tuple[MemberPart, ...], Field(min_length=1)]
    combiner: dict[str, Any]
    interval: IntervalPart | None = None

    @pydantic.field_validator("input_shape")
    @classmethod
    def _of_inputs(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and len(value) not in (1, 2, 3):
            raise ValueError("must be (features,), (length,), (steps, channels) or (channels, height, width)")
        return value

    @pydantic.model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        """Holds members to have models, or all of them states of a training function of the user's own."""
        for member in self.members:
            if self.own != (member.model is None) or self.own != member.file.endswith(".pt"):
                raise ValueError(f"{member.name} has no model, or its file is of another kind")
        if not self.own and self.input_shape is None:
            raise ValueError("input_shape is required where members have models")
        return self

    @property
    def own(self) -> bool:
        """Whether members are of a training function of the user's own."""
        return all(member.model is None for member in self.members)


def parse(content: bytes) -> Document:
    """The document of a file's content.

    Raises:
        ValueError: it is none; the message is one line.
    """
    try:
        return Document.model_validate_json(content)
    except pydantic.ValidationError as error:
        detail = error.errors(include_url=False)[0]
        place = ".".join(str(key) for key in detail["loc"])
        rule = "is required" if detail["type"] == "missing" else f"{detail['msg']}, got {detail['input']!r:.80}"
        raise ValueError(f"{place}: {rule}" if place else rule) from None
