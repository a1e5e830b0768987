"""A folder of image files, one folder per class: `train/<class>/*` and `test/<class>/*`."""

from pathlib import Path

import numpy as np

from hpo.datasets.dataset import Encoding, Examples, Ranges, Source
from hpo.datasets.images import SUFFIXES, image_files, is_hidden, ranges_of
from hpo.datasets.notes import Notes
from hpo.datasets.pictures import pictures
from hpo.errors import DataError
from hpo.spec import DataSettings


def image_folder(settings: DataSettings, data_dir: Path) -> Source:
    """Reads every image as RGB, scaled and centre-cropped to `data.size` pixels square.

    Hidden folders are no classes. What is left out, and what could not be kept of a picture, is among the notes.

    Raises:
        DataError: a folder is missing, a class of it has no images, test has a class that train has not, or a file is
            no image.
    """
    root, notes = Path(str(settings.path)), Notes()
    for split in ("train", "test"):
        if not (root / split).is_dir():
            raise DataError(f"{root}: has no folder '{split}'; image_folder wants train/<class>/ and test/<class>/")
    classes, tested = (_class_names(root / split, notes) for split in ("train", "test"))
    if len(classes) < 2:
        raise DataError(f"{root / 'train'}: needs a folder per class, at least two; found {len(classes)}")
    unknown = sorted(set(tested) - set(classes))
    if unknown:
        raise DataError(f"{root / 'test'}: class '{unknown[0]}' is not among the classes of train")
    if not tested:
        raise DataError(f"{root / 'test'}: has no folder of a class of train ({', '.join(classes[:3])})")
    for name in sorted(set(classes) - set(tested)):
        notes.add("classes without test pictures, on which nothing is measured", name)
    files = {split: _files(root, split, classes, notes) for split in ("train", "test")}
    ranges = ranges_of(path for path, _ in files["train"])
    train, test = (_read(files[split], settings.size, ranges, notes, data_dir) for split in ("train", "test"))
    return Source(train, test, classes, str(root), Encoding(ranges=ranges), notes.lines())


def _class_names(folder: Path, notes: Notes) -> tuple[str, ...]:
    names = []
    for path in sorted(folder.iterdir()):
        shown = f"{folder.name}/{path.name}"
        if is_hidden(path):
            notes.add("hidden files and folders left out", shown)
        elif path.is_dir():
            names.append(path.name)
        else:
            notes.add("files left out, since they lie beside the folders of classes", shown)
    return tuple(names)


def _files(root: Path, split: str, classes: tuple[str, ...], notes: Notes) -> list[tuple[Path, int]]:
    """The image files of a split with the number of their class; a class has some, or no folder in test."""
    found: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        folder = root / split / name
        if not folder.is_dir():
            continue
        files = image_files(folder, notes, root)
        if not files:
            raise DataError(f"{folder}: class '{name}' has no pictures here ({_held(folder)}); {_WAY_OUT}")
        found.extend((path, label) for path in files)
    return found


_WAY_OUT = f"put its pictures ({', '.join(SUFFIXES)}) directly into this folder, or remove the folder if it is no class"


def _held(folder: Path) -> str:
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return f"it holds {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}" if names else "it is empty"


def _read(files: list[tuple[Path, int]], size: int, ranges: Ranges, notes: Notes, data_dir: Path) -> Examples:
    images = pictures([path for path, _ in files], size, ranges, notes, data_dir)
    return Examples(images, np.array([label for _, label in files], dtype=np.int64))
