"""Pictures in files that a column names."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from hpo.datasets.columns import CellError
from hpo.datasets.columns.image import Image
from hpo.errors import DataError
from hpo.spec import DataSettings


def fitted(folder: Path, names: list[str | None]) -> Image:
    return Image.fit(
        "file", names, DataSettings.model_validate({"name": "table", "path": str(folder / "t.csv"), "size": 4})
    )


def test_files_beside_the_table_become_pixels(tmp_path: Path) -> None:
    Pillow.new("RGB", (8, 4), "red").save(tmp_path / "red.png")
    Pillow.fromarray(np.full((4, 4), 500, np.uint16)).save(tmp_path / "deep.png")
    column = fitted(tmp_path, ["red.png", "deep.png"])
    pixels = column.encode(["red.png", "deep.png", np.full((4, 4, 3), 7)])
    assert pixels.shape == (3, 4, 4, 3) and pixels.dtype == np.uint8
    assert (pixels[0] == [255, 0, 0]).all() and (pixels[2] == 7).all()
    assert pixels[1].min() == pixels[1].max() == round(500 / 1023 * 255)
    again = Image.from_json("file", json.loads(json.dumps(column.to_json())))
    assert again.told() == "pictures, 4 pixels square"
    np.testing.assert_array_equal(again.encode([str(tmp_path / "deep.png")])[0], pixels[1])
    np.testing.assert_array_equal(again.encode([again.decode(pixels[0].tolist())])[0], pixels[0])


@pytest.mark.parametrize(
    ("cell", "message"),
    [("none.png", "'.*none.png' is no file"), ("text.png", "text.png"), (None, "names no file here")],
)
def test_what_is_no_picture_is_told_with_its_row(tmp_path: Path, cell: str | None, message: str) -> None:
    Pillow.new("RGB", (8, 4), "red").save(tmp_path / "red.png")
    (tmp_path / "text.png").write_text("none")
    with pytest.raises(CellError, match=message) as error:
        fitted(tmp_path, ["red.png"]).encode(["red.png", cell])
    assert error.value.row == 1


@pytest.mark.parametrize(
    "given", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.full((4, 4, 3), 256), np.full((4, 4, 3), -1)]
)
def test_pixels_of_another_form_are_refused(given: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"a picture must be pixels \(4, 4, 3\) of 0 to 255"):
        Image("file", 4).encode([given])


@pytest.mark.parametrize(
    "damage", [{"size": 0}, {"size": True}, {"ranges": [["float", 1, 1]]}, {"ranges": [["float", 0]]}]
)
def test_damage_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Image.from_json("c", {"size": 4, "ranges": [], **damage})
