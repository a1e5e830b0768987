"""Clips of sound in files."""

import json
import wave
from pathlib import Path

import numpy as np
import pytest

from hpo.datasets.columns import CellError
from hpo.datasets.columns.audio import Audio
from hpo.errors import DataError
from hpo.spec import DataSettings

RATE = 8000


def tone(hertz: float = 440.0, seconds: float = 0.1) -> np.ndarray:
    samples: np.ndarray = np.rint(16_000 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE))
    return samples.astype(np.int16)


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE, channels: int = 1, bits: int = 16) -> Path:
    content = samples.astype("<i2") if bits == 16 else (samples // 256 + 128).astype(np.uint8)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        file.writeframes(content.tobytes())
    return path


def fitted(folder: Path, first: str, **changes: object) -> Audio:
    settings = DataSettings.model_validate({"name": "table", "path": str(folder / "clips.csv"), **changes})
    return Audio.fit("clip", [None, first], settings)


def test_wav_files_beside_the_table_become_samples(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone())
    write_wav(tmp_path / "b.wav", tone(seconds=0.02))
    column = fitted(tmp_path, "a.wav", length=0.05, mels=32)
    assert (column.rate, column.length, column.mels) == (RATE, 400, 32)
    clips = column.encode(["a.wav", str(tmp_path / "b.wav")])
    assert clips.lengths.tolist() == [400, 160] and clips.dtype == np.int16
    np.testing.assert_allclose(clips[:1].padded()[0], tone()[:400], atol=1)
    again = Audio.from_json("clip", json.loads(json.dumps(column.to_json())))
    assert again.told() == column.told() == "sound, 8,000 samples a second, 0.05 s of each at most"
    np.testing.assert_array_equal(again.encode([str(tmp_path / "b.wav")]).values, clips[1:].values)


def test_eight_bits_two_channels_and_flac_are_read(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    stereo = np.stack([tone(), np.zeros_like(tone())], axis=1)
    write_wav(tmp_path / "eight.wav", tone(), bits=8)
    write_wav(tmp_path / "stereo.wav", stereo, channels=2)
    soundfile.write(tmp_path / "f.flac", tone(), RATE)
    soundfile.write(tmp_path / "float.wav", tone() / 32_768, RATE, subtype="FLOAT")
    column = fitted(tmp_path, "eight.wav")
    eight, halved, flac, floats = (
        row for row in column.encode(["eight.wav", "stereo.wav", "f.flac", "float.wav"]).padded()
    )
    np.testing.assert_allclose(eight, tone(), atol=257)
    np.testing.assert_allclose(halved, tone() / 2, atol=1)
    np.testing.assert_allclose(flac, tone(), atol=1)
    np.testing.assert_allclose(floats, tone(), atol=1)


def test_a_clip_may_be_given_as_its_samples(tmp_path: Path) -> None:
    column = fitted(tmp_path, str(write_wav(tmp_path / "a.wav", tone())))
    as_floats = (tone() / 32_767).tolist()
    np.testing.assert_array_equal(column.encode([as_floats]).values, tone())
    np.testing.assert_array_equal(column.encode([tone()]).values, tone())
    assert column.decode(column.encode([tone()]).padded(900)[0].tolist()) == pytest.approx(as_floats)
    with pytest.raises(DataError, match=r"a clip must be samples \(n,\), floats of -1 to 1 or int16, got int64"):
        column.encode([[1, 2]])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.wav", "cannot be read as sound: does not exist"),
        ("mp3.wav", "cannot be read as sound: its content is no WAV, whatever its name says"),
        ("empty.wav", "cannot be read as sound: holds no sound"),
        ("cut.wav", "cannot be read as sound"),
        ("fast.wav", "has 16,000 samples a second, and the first clip 8,000; convert all to one rate"),
        (".", "cannot be read as sound: is no file"),
        (None, "names no file here; leave the row out"),
    ],
)
def test_what_is_no_clip_is_told_with_its_row(tmp_path: Path, name: str | None, message: str) -> None:
    write_wav(tmp_path / "a.wav", tone())
    (tmp_path / "mp3.wav").write_bytes(b"ID3\x04" + bytes(64))
    write_wav(tmp_path / "empty.wav", tone()[:0])
    (tmp_path / "cut.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:20])
    write_wav(tmp_path / "fast.wav", tone(), rate=16_000)
    with pytest.raises(CellError, match=message) as error:
        fitted(tmp_path, "a.wav").encode(["a.wav", name])
    assert error.value.row == 1


@pytest.mark.parametrize("damage", [{"rate": 0}, {"length": 2**25}, {"mels": 1.5}, {"rate": True}])
def test_damage_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Audio.from_json("c", {"rate": 8000, "length": 100, "mels": 8, **damage})
