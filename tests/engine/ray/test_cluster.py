"""Searches on Ray clusters of several machines, here several nodes on this one."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config
from ruamel.yaml import YAML

from hpo.engine.ray.cluster import cluster, starting
from hpo.engine.ray.machines import _check_answer, check_shared
from hpo.errors import ResourceError
from hpo.study.artifacts import Folder, Mark
from tests.conftest import PATIENCE, ROOT, without_ray
from tests.engine.ray.cluster_search import TRIALS
from tests.servers import free_port

CLUSTER = ROOT / "scripts" / "cluster"


def test_a_ray_of_one_machine_has_no_dashboard_and_no_monitors() -> None:
    code = (
        "import ray\nfrom hpo.engine.ray.cluster import cluster\n"
        "with cluster():\n"
        "    print(ray.get(ray.remote(lambda: 6 * 7).remote()))\n"
        "    print(*sorted(ray._private.worker._global_node.all_processes))\n"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT, env=without_ray())
    answer, processes = ran.stdout.splitlines()
    assert answer == "42" and set(processes.split()) - {"reaper"} == {"gcs_server", "raylet"}, ran.stderr


def test_threads_take_turns_as_before_once_ray_is_there(ray_cluster: None) -> None:
    before = sys.getswitchinterval()
    with starting() as wait:
        assert sys.getswitchinterval() < before
        wait()
        assert sys.getswitchinterval() == before
    with pytest.raises(RuntimeError), starting():
        raise RuntimeError
    assert sys.getswitchinterval() == before


@pytest.mark.slow
def test_a_killed_node_loses_no_trial_and_one_that_joins_gets_work(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # its sockets need a short path
        command = [sys.executable, "-m", "tests.engine.ray.cluster_search"]
        environment = os.environ | {"RAY_TMPDIR": folder, "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == 0, ran.stderr[-3000:]
    trials = json.loads((tmp_path / "told.json").read_text())
    assert len(trials) == TRIALS and {trial["state"] for trial in trials} == {"complete", "pruned"}
    for trial in trials:
        assert list(trial["reports"]) == [str(epoch) for epoch in range(1, trial["epochs"] + 1)]
        assert trial["epochs"] in (1, 2, 4)
        if "its machine was lost" not in (trial["reason"] or ""):  # while it was being paused, and nobody needed it
            assert trial["stored"] == trial["best_epoch"]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(lines) >= sum(trial["epochs"] for trial in trials)  # some epochs may have been trained a second time
    assert {line["visible"] for line in lines} == {"0", "1", "2"}  # each node has its own GPU, shared by two trials
    assert all(line["assigned"] == [line["visible"]] for line in lines)
    assert len({(line["node"], line["visible"]) for line in lines}) == 3


@pytest.mark.usefixtures("ray_cluster")
def test_one_machine_sees_all_of_its_folders(tmp_path: Path) -> None:
    (machine,) = check_shared(Mark(Folder(tmp_path / "studies"), "never left"))
    assert machine and not (tmp_path / "studies").exists()


@pytest.mark.usefixtures("ray_cluster")
def test_a_machine_that_does_not_see_the_folder_is_named(tmp_path: Path) -> None:
    import ray

    with pytest.raises(ResourceError, match=r"machine 10\.0\.0\.2 does not see '.*', where trials store"):
        _check_answer(ray.put(False), "10.0.0.2", Mark(Folder(tmp_path), ""))


def test_a_search_is_not_steered_through_rays_client() -> None:
    rule = r"run the same command on a machine of the cluster with `--address auto`"
    with pytest.raises(ResourceError, match=rule), cluster("ray://head:10001"):
        pass


def test_a_cluster_that_is_not_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # the Ray of other tests would be used
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    with (
        pytest.raises(ResourceError, match=f"--address {address}: no Ray cluster can.*leave --address"),
        cluster(address),
    ):
        pass
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ResourceError, match=f"RAY_ADDRESS={address}: no Ray cluster can.*unset RAY_ADDRESS"), cluster():
        pass


def documented(page: str, word: str) -> str:
    """The commands of the indented block that has a word."""
    blocks = [block for block in page.split("\n\n") if block.startswith("    ") and word in block]
    assert len(blocks) == 1
    return dedent(blocks[0])


def end_all(folder: str) -> None:
    """Ends the processes whose Ray has its sessions below a folder."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder.encode() in (place / "cmdline").read_bytes():
                os.kill(int(place.name), signal.SIGKILL)


@pytest.mark.slow
def test_the_documented_commands_make_a_cluster(space: Path, tmp_path: Path) -> None:
    port, token = str(free_port()), tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0" * 64)  # as an earlier search on this machine alone has left it
    search = f"{sys.executable} -m hpo search --address auto --space {space} --trials 2"
    commands = documented((ROOT / "docs" / "cluster.md").read_text(), "ray start --head")
    commands = (
        commands.replace("HEAD", "127.0.0.1").replace("6379", port).replace("hpo search --address auto ...", search)
    )
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"HOME": str(tmp_path), "RAY_TMPDIR": folder, "PATH": path, "PYTHONPATH": str(ROOT)}
        try:
            with Path("log").open("w") as log:
                command = ["bash", "-euc", commands]
                subprocess.run(command, check=True, stdout=log, stderr=log, timeout=PATIENCE, env=without_ray() | own)
        finally:
            end_all(folder)
    assert "2/2 ended (" in Path("log").read_text()


def load(name: str) -> list[Any]:
    return list(YAML(typ="safe").load_all(CLUSTER / name))


@pytest.mark.parametrize("name", ["aws.yaml", "machines.yaml"])
def test_the_launcher_accepts_its_files(name: str) -> None:
    (config,) = load(name)
    config = prepare_config(config)
    validate_config(config)
    assert all(folder in ("~/hpo", "/home/ray/hpo", "~/.ray/auth_token") for folder in config["file_mounts"])
    assert config["max_workers"] >= 2 and "--head" in config["head_start_ray_commands"][-1]


def test_the_manifest_starts_a_search_on_a_volume_that_all_pods_see() -> None:
    volume, job = load("kuberay.yaml")
    assert (job["apiVersion"], job["kind"], volume["spec"]["accessModes"]) == ("ray.io/v1", "RayJob", ["ReadWriteMany"])
    cluster_spec = job["spec"]["rayClusterSpec"]
    groups = [cluster_spec["headGroupSpec"], *cluster_spec["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        claims = {each["name"] for each in pod["volumes"] if "persistentVolumeClaim" in each}
        assert mounts["shared"] == "/shared" and claims == {"shared"}
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())  # KubeRay takes only strings
    assert all(group["minReplicas"] >= 1 for group in cluster_spec["workerGroupSpecs"])
    command = job["spec"]["entrypoint"].split()
    assert command[:4] == ["hpo", "search", "--address", "auto"] and "/shared/studies" in command


def test_they_have_the_ray_of_the_constraints() -> None:
    (version,) = [
        line.removeprefix("ray==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line[:5] == "ray=="
    ]
    image = f"rayproject/ray:{version}-py311-gpu"
    assert load("aws.yaml")[0]["docker"]["image"] == image and f"FROM {image}" in (CLUSTER / "Dockerfile").read_text()
    assert load("kuberay.yaml")[1]["spec"]["rayClusterSpec"]["rayVersion"] == version
