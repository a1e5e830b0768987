import io
import json
import math
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from hpo.ensemble.pool import Pool
from hpo.errors import InputError, StudyError
from hpo.study.artifacts import Artifacts, Folder, Place, Split, Stored, Unseen, leftovers, place, whole_epoch
from hpo.study.artifacts.seal import Seal, claim
from hpo.study.secret import proof
from hpo.study.study import Study

ROWS = np.full((4, 2), 0.5, np.float32)


@pytest.fixture(params=["folder", "s3"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    if request.param == "folder":
        return Artifacts(tmp_path)
    return Artifacts(f"s3://bucket/{tmp_path.name}?{request.getfixturevalue('store')}")


def write(artifacts: Artifacts, epoch: int, *splits: Split) -> None:
    weights = {"w": np.ones(3, np.float32) * epoch, "batches": np.array(7)}
    artifacts.write(7, epoch, weights, dict.fromkeys(splits or ("validation", "test"), ROWS))


def epochs(artifacts: Artifacts) -> set[str]:
    return {name.partition("/")[0] for name in artifacts.trial(7).files()}


def test_only_the_best_epoch_stays(artifacts: Artifacts) -> None:
    assert artifacts.read(7) is None
    write(artifacts, 1)
    write(artifacts, 12)
    stored = artifacts.read(7)
    assert stored is not None and stored.epoch == 12 and stored.splits == {"validation", "test"}
    assert epochs(artifacts) == {"epoch-0012"}
    np.testing.assert_array_equal(stored.predictions("test"), ROWS)
    assert stored.predictions("test").dtype == np.float32
    weights = stored.weights()
    np.testing.assert_array_equal(weights["w"], [12, 12, 12])
    assert weights["batches"].shape == ()


def test_weights_are_copied_to_a_file(artifacts: Artifacts, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    write(artifacts, 1)
    stored = artifacts.read(7)
    assert stored is not None
    stored.copy_checkpoint(Folder(tmp_path), "copy.safetensors")
    np.testing.assert_array_equal(load_file(tmp_path / "copy.safetensors")["w"], [1, 1, 1])


def test_an_epoch_without_its_weights_is_not_seen(artifacts: Artifacts) -> None:
    write(artifacts, 1)
    artifacts.trial(7).write("epoch-0002/validation.npy", b"the writer died here")
    stored = artifacts.read(7)
    assert stored is not None and stored.epoch == 1
    write(artifacts, 3)
    stored = artifacts.read(7)
    assert stored is not None and stored.epoch == 3
    assert epochs(artifacts) == {"epoch-0003"}


def test_test_rows_may_come_later(artifacts: Artifacts) -> None:
    write(artifacts, 2, "validation")
    stored = artifacts.read(7)
    assert stored is not None and stored.splits == {"validation"}
    with pytest.raises(FileNotFoundError):
        stored.predictions("test")
    stored.add("test", ROWS)
    stored = artifacts.read(7)
    assert stored is not None and stored.splits == {"validation", "test"}
    artifacts.trial(7).write("epoch-0002/test.npy", b"torn")
    with pytest.raises(ValueError):
        stored.predictions("test")


def test_an_epoch_that_is_trained_again_takes_the_place_of_the_first(artifacts: Artifacts) -> None:
    write(artifacts, 2)
    write(artifacts, 2, "validation")
    stored = artifacts.read(7)
    assert stored is not None and stored.splits == {"validation"}


def test_a_search_takes_up_the_states_that_it_has_stored(artifacts: Artifacts) -> None:
    own = artifacts.sealed(Seal.of("study"))
    own.save_state(7, {"number": 7, "epoch": 3, "w": torch.ones(2)}, of="seven")
    own.lend_state(7, 8, of="seven", to="eight")
    later = artifacts.sealed(Seal.of("study"))
    for reader in (own, later, artifacts):
        for number, of in ((7, "seven"), (8, "eight")):
            state = reader.load_state(number, of)
            assert state is not None and state["epoch"] == 3 and state["w"].tolist() == [1, 1]
    assert own.state_epoch(7, "seven") == later.state_epoch(8, "eight", lender=7) == 3


def test_a_state_is_lent_only_where_it_would_be_taken_up(artifacts: Artifacts) -> None:
    own = artifacts.sealed(Seal.of("study"))
    own.save_state(7, {"number": 7, "epoch": 3}, of="seven")
    for wrong in (artifacts.sealed(Seal.of("other")), own):
        wrong.lend_state(7, 8, of="seven" if wrong is not own else "another's", to="eight")
        assert not own.has_state(8)
    artifacts.lend_state(7, 8)  # in a search of the built-in loop, which needs no proof and makes none
    assert artifacts.load_state(8) is not None and not own.takes_up(8, "eight")


def test_a_seal_is_of_the_study_and_its_settings(tmp_path: Path) -> None:
    seals = [Seal.of("study"), Seal.of("other"), Seal.of("study", "settings")]
    assert len({seal.key for seal in seals}) == 3 and Seal.of("study", "settings").key == seals[2].key


@pytest.mark.parametrize(
    "how", ["changed", "unsealed", "another study", "another trial", "another user", "cut", "another head"]
)
def test_a_state_that_nobody_has_proven_is_left_where_a_proof_is_needed(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, state = Artifacts(tmp_path / "artifacts"), {"number": 7, "epoch": 3, "w": torch.ones(2)}
    sealed = plain.sealed(Seal.of("study"))
    (plain if how == "unsealed" else sealed).save_state(7, state, "eight" if how == "another trial" else "seven")
    content = bytearray(plain.trial(7).read("state.pt"))
    if how == "changed":
        content[-200] ^= 1
    elif how == "another head":
        content[12] ^= 1
    elif how == "another user":
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another"))
    plain.trial(7).write("state.pt", bytes(content[:90] if how == "cut" else content))
    reader = plain.sealed(Seal.of("other" if how == "another study" else "study"))
    with pytest.warns(RuntimeWarning, match="the state of trial 7 is not taken up: it is not proven"):
        assert reader.load_state(7, "seven") is None
    with pytest.warns(RuntimeWarning):
        assert reader.state_epoch(7, "seven") is None
    if how in (
        "unsealed",
        "another study",
        "another trial",
        "another user",
    ):  # the built-in loop takes only numbers from it
        state = plain.load_state(7) or {}
        assert state["epoch"] == 3


def test_what_a_state_is_of_is_its_trial_and_its_config() -> None:
    values: tuple[object, ...] = (0.1, 1, True, "1", [1], math.inf, math.nan, None, {"b": 1}, [], {}, [["'b'", "1"]])
    configs = [{"a": value} for value in values] + [{"a.b": 1}]
    claims = {claim(number, config) for number in (0, 1) for config in configs}
    assert len(claims) == 2 * len(configs)
    assert claim(0, {"a": 1, "b": [2]}) == claim(0, {"b": (2,), "a": 1})


def test_a_secret_may_be_given_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_SECRET", "0123456789abcdef" * 2)
    Artifacts(tmp_path).sealed(Seal.of("study")).save_state(7, {"epoch": 3})
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another home"))
    other = Artifacts(tmp_path).sealed(Seal.of("study"))
    assert other.takes_up(7) and other.load_state(7) == {"epoch": 3}
    monkeypatch.delenv("HPO_SECRET")
    assert not Artifacts(tmp_path).sealed(Seal.of("study")).takes_up(7)
    monkeypatch.setenv("HPO_SECRET", "short")
    with pytest.raises(PermissionError, match="HPO_SECRET is too short to be a secret, which has 32 letters at least"):
        proof("text")


def test_without_a_secret_a_search_proves_its_own_states_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))  # where no folder can be made
    one, other = (Artifacts(tmp_path).sealed(Seal.of("study")) for _ in range(2))
    one.save_state(7, {"epoch": 3})
    assert one.load_state(7) == {"epoch": 3}
    with pytest.warns(RuntimeWarning, match="not proven"):
        assert other.load_state(7) is None
    assert "key" not in repr(Seal.of("study"))


def test_a_state_is_kept_lent_and_dropped(artifacts: Artifacts) -> None:
    assert artifacts.load_state(7) is None and "state.pt" not in artifacts.trial(7).files()
    artifacts.lend_state(7, 8)
    artifacts.drop_state(7)
    assert "state.pt" not in artifacts.trial(8).files()
    artifacts.save_state(7, {"epoch": 3, "model": {"w": torch.ones(2)}})
    artifacts.lend_state(7, 8)
    artifacts.drop_state(7)
    assert artifacts.load_state(7) is None and "state.pt" in artifacts.trial(8).files()
    state = artifacts.load_state(8)
    assert state is not None and state["epoch"] == 3 and state["model"]["w"].tolist() == [1, 1]


def test_pickles_are_refused(artifacts: Artifacts, tmp_path: Path) -> None:
    write(artifacts, 1)
    stored = artifacts.read(7)
    assert stored is not None
    np.save(tmp_path / "bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    artifacts.trial(7).write("epoch-0001/test.npy", (tmp_path / "bad.npy").read_bytes())
    with pytest.raises(ValueError, match="pickle"):
        stored.predictions("test")
    torch.save(Path, tmp_path / "bad.pt")
    artifacts.trial(7).write("state.pt", (tmp_path / "bad.pt").read_bytes())
    with pytest.raises(pickle.UnpicklingError):
        artifacts.load_state(7)


def test_damaged_weights_are_a_value_error(artifacts: Artifacts) -> None:
    write(artifacts, 1)
    stored = artifacts.read(7)
    assert stored is not None
    artifacts.trial(7).write("epoch-0001/checkpoint.safetensors", b"torn")
    with pytest.raises(ValueError):
        stored.weights()


def test_what_is_evicted_is_remembered(artifacts: Artifacts) -> None:
    write(artifacts, 1)
    artifacts.save_state(7, {"epoch": 1})
    assert set(artifacts.files()) == {7} and artifacts.size(7) == sum(artifacts.files()[7].values()) > 0
    assert artifacts.evicted() == frozenset()
    artifacts.evict(7)
    assert artifacts.read(7) is None and artifacts.size(7) == 0 and artifacts.files() == {}
    assert artifacts.evicted() == {7}


def test_what_nobody_reads_of_an_ended_trial() -> None:
    whole = ["epoch-0005/checkpoint.safetensors", "epoch-0005/validation.npy"]
    unused = [
        "state.pt",
        ".state.pt.0a",
        "epoch-0004/checkpoint.safetensors",
        "epoch-0006/test.npy",
        "epoch-0005/.test.npy.0a",
    ]
    assert whole_epoch(whole + unused) == 5
    assert leftovers(whole + unused) == unused
    assert whole_epoch([".epoch-0005/checkpoint.safetensors"]) is None
    assert leftovers(["state.pt"]) == ["state.pt"]


def _write_elsewhere(artifacts: Artifacts) -> None:
    write(artifacts, 4)


def test_another_process_writes_to_the_same_place(artifacts: Artifacts) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_write_elsewhere, args=(artifacts,))
    process.start()
    process.join()
    stored = artifacts.read(7)
    assert stored is not None and stored.epoch == 4


def test_a_relative_folder_is_sent_as_an_absolute_one(tmp_path: Path) -> None:
    sent = pickle.loads(pickle.dumps(Artifacts("here")))
    assert sent.folder == tmp_path / "here"
    assert str(Artifacts("here").place) == "here"


def test_the_names_of_places(store: str) -> None:
    assert place("file:///a%20b/c") == Folder(Path("/a b/c"))
    assert str(place("s3://bucket/a/?region=x") / "b/c") == "s3://bucket/a/b/c?region=x"
    assert str(place("gs://bucket") / "b") == "gs://bucket/b"
    bucket = place(f"s3://bucket/names?{store}")
    (bucket / "below").write("x/y", b"1")
    again: Place = place(str(bucket / "below"))
    assert again.read("x/y") == b"1" and again.files() == {"x/y": 1}
    with pytest.raises(StudyError, match="no folder of this machine"):
        assert bucket.path


def test_credentials_in_a_uri_are_refused_and_not_shown() -> None:
    with pytest.raises(InputError, match="'s3://bucket/a' was given with credentials") as error:
        place("s3://someone:something@bucket/a")
    assert "something" not in str(error.value)


def test_a_store_that_is_not_there_is_an_os_error(store: str) -> None:
    with pytest.raises(OSError):
        Artifacts(f"s3://nothing/a?{store}").write(7, 1, {}, {"validation": ROWS})


@pytest.mark.parametrize(
    "uri",
    ["nothing://a", "hdfs://a/b", "viewfs://a", "hf://a", "local:///a", "fsspec+file:///a", "mock://a/b", "S3://a"],
)
def test_only_object_stores_that_are_known_are_opened(uri: str) -> None:
    with pytest.raises(InputError, match="names no place for artifacts: a folder is named by its path"):
        place(uri)


@pytest.mark.parametrize("uri", ["file:///a%00", "a\0b", "postgresql://u@[::1"])
def test_what_is_no_path_is_one_sentence(uri: str) -> None:
    with pytest.raises(InputError, match="is no path of a folder|names no place"):
        place(uri)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_state_that_was_cut_is_none(study: Study, share: float) -> None:
    study.artifacts.save_state(0, {"number": 0, "epoch": 2, "state": {"w": torch.zeros(1000)}})
    assert study.artifacts.state_epoch(0) == 2 and study.artifacts.state_epoch(1) is None
    file = study.folder / "artifacts" / "00000" / "state.pt"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    assert study.artifacts.state_epoch(0) is None


def test_nothing_is_stored_where_the_folder_of_the_search_is_not_seen(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    first = Artifacts(shared).marked()
    write(first, 1)
    shared.rename(own)
    for _ in ("without the folder", "with an empty one of the same name"):
        with pytest.raises(Unseen, match=f"does not see '{shared}'"):
            write(first, 2)
        with pytest.raises(Unseen):
            first.save_state(7, {"epoch": 2})
        with pytest.raises(Unseen):
            first.check()
        assert not list(shared.glob("*"))
        shared.mkdir(exist_ok=True)
    shared.rmdir()
    own.rename(shared)
    write(first, 2)
    assert epochs(first) == {"epoch-0002"} and first.files().keys() == {7}
    second = pickle.loads(pickle.dumps(Artifacts(shared).marked()))  # another search of the same study
    write(second, 3)
    with pytest.raises(Unseen):
        write(first, 4)


def test_a_folder_that_cannot_be_marked_is_named() -> None:
    with pytest.raises(
        StudyError, match="'/proc/nothing', where trials store what they leave, cannot be written: No such"
    ):
        Artifacts(Path("/proc/nothing")).marked()
    assert Artifacts("s3://bucket/x").marked().mark is None


@pytest.mark.parametrize("epoch", [-1, 0, True, 2.0, "2", None, 2**40, [2]])
def test_a_state_of_no_epoch_is_none(epoch: object, study: Study) -> None:
    study.artifacts.save_state(0, {"number": 0, "epoch": epoch, "state": {}})
    assert study.artifacts.state_epoch(0) is None


@pytest.mark.parametrize("owner", [True, 1.0, "1", None, 2])
def test_a_state_of_no_trial_is_none(owner: object, study: Study) -> None:
    study.artifacts.save_state(1, {"number": owner, "epoch": 2, "state": {}})
    assert study.artifacts.state_epoch(1) is None


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(60, [("a", "<f4"), ("b", "<f4"), ("c", "<f4")]),
        np.full((60, 3), "0.5"),
        np.zeros((60, 3), "M8[s]"),
        np.zeros((60, 3), np.complex64),
        np.zeros((60, 3), "V4"),
    ],
    ids=lambda array: str(array.dtype)[:20],
)
def test_predictions_that_are_no_numbers_are_left_out_by_name(array: np.ndarray, study: Study) -> None:
    content = io.BytesIO()
    np.save(content, array)
    (study.folder / "artifacts" / "00000" / "epoch-0003" / "validation.npy").write_bytes(content.getvalue())
    stored = study.artifacts.read(0)
    assert stored is not None
    with pytest.raises(ValueError, match="it holds no numbers, but"):
        stored.predictions("validation")
    pool = Pool.load(study, 50)
    assert 0 not in [trial.number for trial in pool.trials]
    assert any(
        "trial 0: its validation predictions cannot be read: it holds no numbers" in line for line in pool.skipped
    )


def test_weights_of_a_type_that_numpy_lacks_are_damage(artifacts: Artifacts) -> None:
    """A file of safetensors may name more types than numpy has."""
    header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(4)
    artifacts.trial(7).write("epoch-0001/checkpoint.safetensors", content)
    stored = Stored(1, artifacts.trial(7) / "epoch-0001", frozenset())
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors: .*F8_E4M3"):
        stored.weights()
