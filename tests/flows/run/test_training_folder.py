from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import yaml

from flows.run.training_folder import WRITTEN_FILE, ForeignFilesError, clear_training, holds_training, noted_files
from storage_schemas.folder_lock import LOCK_FILE, locked_folder
from tests.conftest import REPOSITORY

SMALL = {
    "network": {"base_channels": 8},
    "max_steps": 2,
    "data": {"batch_size": 1},
    "evaluation": {"num_strips": 1, "without_radar": False},
}


pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def recipe(tiny_root, copied_store, write_recipe):
    return write_recipe(tiny_root, train=SMALL)


@pytest.fixture(scope="module")
def complete(tiny_root, tiny_store, tmp_path_factory):
    """A complete training in a folder; tests must not change it."""
    import depthmill

    folder = tmp_path_factory.mktemp("complete")
    source = {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"}
    (folder / "r.yaml").write_text(yaml.safe_dump({"source": source, "store": str(tiny_store), "train": SMALL}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEPTHMILL_LOADER_WORKERS", "0")
        patch.setenv("DEPTHMILL_DEVICE", "cpu")
        depthmill.train(folder / "r.yaml", out=folder / "training")
    return folder / "training"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FOREIGN = {
    "training.json": '{"name": "my notes", "config": 1}',
    "last.pt": "weights of my own",
    "best.pt": "",
    "steps.csv": "step,loss\n1,0.5\n",
    "evaluations.csv": "step,mae\n1,0.5\n",
    "written.json": "{}",
}


@pytest.mark.parametrize("name", [*FOREIGN, "torch", "link", "folder"])
def test_folder_of_a_user_when_it_has_a_file_of_a_trainings_name_then_nothing_is_deleted(recipe, depthmill, tmp_path, name):
    out = tmp_path / "mine"
    (out / "thesis").mkdir(parents=True)
    (out / "thesis" / "thesis.tex").write_text("words")
    if name == "torch":
        torch.save({"model_state_dict": {}, "optimizer": {}}, out / "last.pt")
    elif name == "link":
        (out / "last.pt").symlink_to(out / "thesis" / "thesis.tex")
    elif name == "folder":
        (out / "training.json").mkdir()
    else:
        (out / name).write_text(FOREIGN[name])
    before = files(out)
    for options in (("--restart",), ()):
        code, text = depthmill("train", recipe, "--no-prefect", "--out", out, *options)
        assert code == 1
        assert "with a content that depthmill did not write, and a training would replace that. Nothing was deleted. Move" in text
        assert files(out) == before


@pytest.mark.parametrize("is_noted", [True, False])
def test_kept_checkpoints_when_begun_anew_then_they_and_their_evaluations_go_and_a_users_files_stay(complete, tmp_path, is_noted):
    out, kept = tmp_path / "out", tmp_path / "out" / "checkpoints"
    shutil.copytree(complete, out)
    with suppress(KeyboardInterrupt), noted_files(out):
        shutil.copytree(complete / "evaluation", kept / "step_0000002" / "evaluation")
        (kept / "evaluated.json").write_text('{"rows": [], "record_sha256": "0"}')
        (kept / "table.md").write_text("| step |")
        if not is_noted:
            raise KeyboardInterrupt
    shutil.copy(complete / "last.pt", kept / "step_0000002.pt")
    (kept / f".step_0000004.pt.{'0' * 32}").write_bytes((complete / "last.pt").read_bytes()[:5000])
    mine = {"checkpoints/step_0000003.pt": "a", "checkpoints/step_0000002/notes.txt": "b", "checkpoints/mine.md": "c"}
    for name, content in mine.items():
        (out / name).write_text(content)
    assert clear_training(out) == sorted(mine)
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == {*mine, WRITTEN_FILE}


@pytest.mark.slow
def test_restart_when_a_users_files_lie_in_a_training_then_they_stay_and_are_named(complete, recipe, depthmill, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(complete, out)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "data.bin").write_text("data")
    mine = {"notes.txt": "a", "evaluation/figure.png": "b", "tensorboard/events.out.tfevents.mine": "c", "pictures/a/b.jpg": "d"}
    for name, content in mine.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(content)
    (out / "linked").symlink_to(outside)
    (out / "empty").mkdir()
    code, text = depthmill("train", recipe, "--no-prefect", "--out", out, "--restart", "--set", "train.max_steps=1")
    assert code == 0, text
    for name, content in mine.items():
        assert (out / name).read_text() == content
        assert f"kept, for depthmill did not write it: {out / name}" in text
    assert (outside / "data.bin").read_text() == "data"
    assert (out / "linked").is_symlink()
    assert (out / "empty").is_dir()
    assert (out / "steps.csv").read_text().count("\n") == 2
    code, text = depthmill("train", recipe, "--no-prefect", "--out", out, "--set", "train.max_steps=1")
    assert "nothing to do" in text


def test_training_when_nothing_of_a_user_is_in_it_then_all_is_deleted(complete, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(complete, out)
    (out / f".last.pt.{'0' * 32}").write_bytes((out / "last.pt").read_bytes()[:5000])  # of a killed process
    assert holds_training(out)
    assert clear_training(out) == []
    assert list(out.iterdir()) == []
    shutil.copytree(complete, out, dirs_exist_ok=True)
    (out / "written.json").unlink()  # a training of a former version
    data = bytearray((out / "last.pt").read_bytes())
    data[3000] ^= 4
    (out / "last.pt").write_bytes(bytes(data))  # damaged: --restart is the remedy, so it must work
    assert clear_training(out) == []
    assert list(out.iterdir()) == []


def test_file_when_a_user_has_changed_it_then_it_is_not_deleted(complete, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(complete, out)
    with open(out / "evaluation" / "table.md", "a") as stream:
        stream.write("my own remarks")
    before = files(out)
    with pytest.raises(ForeignFilesError, match="holds 'evaluation/table.md' with a content that depthmill did not write"):
        clear_training(out)
    assert files(out) == before


def test_files_when_written_by_a_part_then_known_by_their_bytes(tmp_path):
    (tmp_path / "mine.txt").write_text("before")
    with noted_files(tmp_path):
        (tmp_path / "rooms.bin").write_bytes(b"of a family of another package")
    (tmp_path / "steps.csv").write_text("step,epoch,samples,loss,lr,seconds\n")
    assert clear_training(tmp_path) == ["mine.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "written.json"]
    assert holds_training(tmp_path)


def test_complete_folder_when_another_recipe_is_given_then_refused_by_name(complete, recipe, depthmill):
    code, text = depthmill("train", recipe, "--no-prefect", "--out", complete, "--set", "train.learning_rate=0.5")
    assert code == 1
    expected = r"training '.*' was trained with train.learning_rate = 0.0001, the recipe says 0.5. Change it back, choose another"
    assert re.search(expected, text)
    code, text = depthmill("train", recipe, "--no-prefect", "--out", complete)
    assert (code, "nothing to do" in text) == (0, True)


def test_folder_when_another_training_is_at_work_in_it_then_the_second_is_told_who(complete, recipe, depthmill, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with locked_folder(out, doing="depthmill train other.yaml", if_denied="-"):
        code, text = depthmill("train", recipe, "--no-prefect", "--out", out)
    assert code == 1
    assert f"'{out}' is in use: depthmill train other.yaml, process {os.getpid()} on " in text
    assert not (out / LOCK_FILE).exists()


@pytest.mark.slow
def test_training_when_another_is_started_and_the_first_one_killed_then_refused_and_then_gone_on_with(recipe, tmp_path):
    out = tmp_path / "out"
    command = [
        sys.executable, "-uc", "from flows.cli import main; main()", "train", str(recipe), "--no-prefect", "--out", str(out), "--set", "train.max_steps=400",
        "--set", "train.evaluate_every_epochs=1",
    ]  # fmt: skip
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY)
    for line in first.stdout:
        if "validation" in line:
            break
    second = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert second.returncode == 1
    assert f"in use: depthmill train {recipe}, process {first.pid} on " in second.stderr
    assert "Traceback" not in second.stderr
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    first.stdout.close()
    assert (out / LOCK_FILE).is_file()
    third = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY)
    assert any(f"going on with {out}" in line for line in third.stdout)
    third.kill()
    third.wait()
    third.stdout.close()


def test_weights_of_classification_when_other_bytes_lie_at_the_path_then_another_training(recipe, tmp_path):
    from flows.run.opening import open_recipe
    from flows.run.training import training_folder
    from flows.settings import Settings
    from model.families import FAMILIES, parse_train_config
    from pipeline.recipe import load_recipe

    weights, moved = tmp_path / "resnet34.pth", tmp_path / "moved.pth"
    weights.write_bytes(b"a")
    moved.write_bytes(b"a")
    opened = open_recipe(load_recipe(recipe), Settings(workers=1))

    def folder_of(path):
        return training_folder(opened, parse_train_config({"imagenet_weights": str(path)}, where="r"), "m")

    first = folder_of(weights)
    assert folder_of(moved) == first
    former = first.with_name(
        FAMILIES.former_training_name(parse_train_config({"imagenet_weights": str(weights)}, where="r"), "m")
    )
    assert former != first
    former.mkdir(parents=True)
    (former / "last.pt").write_bytes(b"a former version named it by the path")
    assert folder_of(weights) == former
    assert folder_of(moved) == first
    later = (former / "last.pt").stat().st_mtime + 10
    weights.write_bytes(b"b")
    os.utime(weights, (later, later))
    assert folder_of(weights) not in (first, former)
    plain = parse_train_config({}, where="r")
    assert FAMILIES.training_name(plain, "m") == FAMILIES.former_training_name(plain, "m")


def test_start_when_other_bytes_lie_at_its_path_then_the_begun_training_says_so(complete, recipe, depthmill, tmp_path):
    out, start = tmp_path / "out", tmp_path / "start.pt"
    shutil.copy(complete / "best.pt", start)
    options = ("train", recipe, "--no-prefect", "--out", out, "--set", f"train.start_from={start}")
    assert depthmill(*options)[0] == 0
    moved = tmp_path / "moved.pt"
    shutil.copy(start, moved)
    code, text = depthmill(*options[:-1], f"train.start_from={moved}")
    assert "nothing to do" in text, text  # the same bytes elsewhere
    shutil.copy(out / "best.pt", start)
    code, text = depthmill(*options)
    assert code == 1
    assert re.search(
        r"was trained from train.start_from with digest \w{16}, '.*start.pt' has \w{16}. Bring the former file", text
    )


def test_files_when_the_evaluation_has_ended_and_a_user_adds_some_like_ours_then_they_stay(complete, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(complete, out)
    mine = {
        "evaluation/mine/table.md": b"| my | table |",
        "evaluation/rows.csv": b"a,b",
        "evaluation/results/000001.txt": b"",
        "evaluation/mine/frames.parquet": (complete / "evaluation/frames.parquet").read_bytes(),
    }
    for name, content in mine.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    assert set(clear_training(out)) == set(mine)
    assert {name: (out / name).read_bytes() for name in mine} == mine


def test_files_when_the_evaluation_was_killed_then_ours_are_known_by_content(complete, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(complete, out)
    (out / WRITTEN_FILE).unlink()
    with pytest.raises(KeyboardInterrupt), noted_files(out):
        (out / "evaluation/table.tex").unlink()
        raise KeyboardInterrupt
    assert clear_training(out) == []
    assert not (out / "evaluation").exists()


@pytest.mark.parametrize("name", ["evaluation", "tensorboard", "report.html", "report.html of a user", "evaluation linked"])
def test_restart_when_what_it_would_write_to_is_a_users_then_refused_and_nothing_is_deleted(
    complete, recipe, depthmill, tmp_path, name
):
    out, outside = tmp_path / "out", tmp_path / "outside"
    shutil.copytree(complete, out)
    outside.mkdir()
    place = out / name.split()[0]
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    if name.endswith("linked"):
        place.symlink_to(outside)
    elif name == "report.html":
        place.mkdir()
    else:
        place.write_text("<html>mine</html>")
    before = files(out)
    code, text = depthmill("train", recipe, "--no-prefect", "--out", out, "--restart")
    assert code == 1
    assert f"holds '{place.name}' with a content that depthmill did not write" in text
    assert files(out) == before and list(outside.iterdir()) == []
    code, text = depthmill("train", recipe, "--no-prefect", "--out", out)
    assert code == 0 and "nothing to do" in text, text


@pytest.mark.parametrize("content", ["[" * 100_000, "{", "5", '{"depthmill wrote these files, by SHA-256": [1]}'])
def test_restart_when_written_json_is_damaged_then_an_error_or_all_is_known_by_content(complete, tmp_path, content):
    out = tmp_path / "out"
    shutil.copytree(complete, out)
    (out / WRITTEN_FILE).write_text(content)
    with suppress(ForeignFilesError):
        clear_training(out)
    (out / WRITTEN_FILE).unlink(missing_ok=True)
    os.mkfifo(out / WRITTEN_FILE)
    with pytest.raises(ForeignFilesError, match="holds 'written.json'"):
        clear_training(out)
