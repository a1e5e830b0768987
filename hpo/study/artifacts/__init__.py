"""What a trial leaves at its best epoch: a checkpoint and its predictions on validation rows.

    <place>/00012/epoch-0005/
        validation.npy            predictions (rows, outputs): float16 probabilities, or float32 values
        test.npy                  of those that are scored in an ensemble, predicted then: float32
        checkpoint.safetensors    weights alone, float32

    <place>/00012/state.pt        what a trial goes on from, until it has ended
    <place>/00012/stdout.txt      what the program of a trial has printed, its beginning and its end; stderr.txt too
    <place>/.search               the mark of the last search, in a folder
    <place>/evicted/00012         says that the trial's files were removed for their bytes

The place is a folder, or a prefix in an object store. Each file appears whole or not at all. An epoch is there when its
checkpoint is, which is written after the validation rows; test rows come later. The older epoch is removed after.
Nothing here is unpickled: a state is read by `hpo.files.tensors`, which knows few names.
"""

from hpo.study.artifacts.mark import Mark, Unseen
from hpo.study.artifacts.place import Bucket, Folder, Nowhere, Place, place
from hpo.study.artifacts.stored import (
    MOST_PRINTED,
    PRINTED,
    Artifacts,
    Split,
    Stored,
    leaves,
    leftovers,
    printed,
    unpacked,
    whole_epoch,
)

__all__ = [
    "MOST_PRINTED",
    "PRINTED",
    "Artifacts",
    "Bucket",
    "Folder",
    "Mark",
    "Nowhere",
    "Place",
    "Split",
    "Stored",
    "Unseen",
    "leaves",
    "leftovers",
    "place",
    "printed",
    "unpacked",
    "whole_epoch",
]
