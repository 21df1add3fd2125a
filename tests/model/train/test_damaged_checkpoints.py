from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.blocks.sealed_file import check_seal
from model.errors import CheckpointError, WeightsFileError
from model.families import FAMILIES, evaluate_training, family_of, load_checkpoint, load_network, train
from model.mim4d.config import Mim4dTrainConfig
from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.family import MonoDdleFamily
from model.semodepth.reference import load_reference, reference_key
from model.train.checkpoint import save_checkpoint
from model.train.start import load_start
from storage_schemas.errors import DepthmillError
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.model.train.made_up_training import CPU, same, small_config, train_until, weights

NUM_FLIPS = 60
CONFIG = small_config(max_steps=5)


@pytest.fixture(scope="module")
def trained(tiny_store, tmp_path_factory):
    """A folder whose training was stopped at step 4, with best.pt and last.pt of step 3; tests must not change it."""
    folder = tmp_path_factory.mktemp("trained")
    manifest = open_manifest(Store(str(tiny_store)))
    train_until(CONFIG, manifest, folder, step=4)
    return manifest, folder


@pytest.fixture
def copied(trained, tmp_path):
    manifest, folder = trained
    for name in ("best.pt", "last.pt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    return manifest, tmp_path


@pytest.fixture(scope="module")
def content(trained) -> dict:
    """What a checkpoint holds, with one weight and an empty optimiser: what is refused before either is looked at, in no time."""
    whole = torch.load(trained[1] / "best.pt", weights_only=True)
    name, value = next((name, value) for name, value in whole["model_state_dict"].items() if value.dim() == 4)
    return {**whole, "model_state_dict": {name: value}, "optimizer": {"state": {}, "param_groups": []}}


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def is_refused(path) -> bool:
    try:
        load_checkpoint(path)
    except (CheckpointError, WeightsFileError):
        return True
    return False


@pytest.mark.slow
def test_checkpoint_when_any_bit_is_flipped_then_refused(copied):
    path = copied[1] / "best.pt"
    data = path.read_bytes()
    bits = np.random.default_rng(0).integers(0, 8 * len(data), NUM_FLIPS).tolist()
    bits += range(8 * 4)  # the magic number of an archive
    bits += range(8 * (len(data) - 110), 8 * len(data), 3)  # the end of the archive and the seal
    found = 0
    for bit in bits:
        path.write_bytes(flipped(data, bit))
        found += is_refused(path)
    print(f"{found} of {len(bits)} flips found")
    assert found == len(bits)
    for size in (0, 1, 100, len(data) // 2, len(data) - 90, len(data) - 81, len(data) - 40, len(data) - 1):
        path.write_bytes(data[:size])
        assert is_refused(path), size
    path.write_bytes(data)
    assert load_checkpoint(path).step > 0


def test_checkpoint_when_sealed_then_torch_alone_reads_it_as_before(copied):
    path = copied[1] / "best.pt"
    with open(path, "rb") as stream:
        assert check_seal(stream)
    for is_mapped in (False, True):
        content = torch.load(path, weights_only=True, mmap=is_mapped)
        assert content["format"] == 1
        assert same(content["model_state_dict"], load_checkpoint(path).model)


def test_checkpoint_of_a_former_version_when_read_then_its_records_are_checked(copied):
    path = copied[1] / "best.pt"
    torch.save(torch.load(path, weights_only=True), path)  # as it was written before there were seals
    data = path.read_bytes()
    with open(path, "rb") as stream:
        assert not check_seal(stream)
    assert load_checkpoint(path).step == 3
    tensor = load_checkpoint(path).model["encoder.layer4.0.bn1.running_var"].numpy().tobytes()
    begin = 8 * data.index(tensor)
    bits = np.random.default_rng(0).integers(begin, begin + 8 * len(tensor), 20).tolist()
    for bit in bits:
        path.write_bytes(flipped(data, bit))
        with pytest.raises(WeightsFileError, match="is damaged: its record 'best/data/.*' does not have the checksum"):
            load_checkpoint(path)


@pytest.mark.slow
def test_last_checkpoint_when_damaged_then_the_advised_copy_goes_on_to_the_same_weights(copied, tmp_path):
    manifest, folder = copied
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "last.pt").write_bytes((folder / "last.pt").read_bytes())
    train(CONFIG, manifest, whole, machine=CPU)
    path = folder / "last.pt"
    path.write_bytes(flipped(path.read_bytes(), 80_000))
    advice = f"To go on from the best checkpoint instead, copy '{folder / 'best.pt'}' over it"
    with pytest.raises(WeightsFileError, match=re.escape(advice)):
        train(CONFIG, manifest, folder, machine=CPU)
    path.write_bytes((folder / "best.pt").read_bytes())
    train(CONFIG, manifest, folder, machine=CPU)
    assert same(weights(folder), weights(whole))


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        *((key, ..., f"'{key}' is missing") for key in ("model_state_dict", "optimizer", "loader", "best", "random", "step")),
        ("format", "1", "'format' is '1', expected the number 1"),
        ("format", 2, "has format 2, this depthmill reads 1. Update depthmill"),
        ("step", "3", "'step' is '3', expected a number of steps"),
        ("step", -1, "'step' is -1, expected a number of steps"),
        ("step", 10**30, "'step' is 1000000000"),  # beyond all trainings
        ("config", "{", "'config' is '{', expected a JSON object"),
        ("config", 5, "'config' is 5, expected a JSON object"),
        ("config", json.dumps({"family": ["semodepth"]}), "options that this depthmill does not know"),
        ("model_state_dict", {"weight": 1}, "'model_state_dict' is a dict, expected named tensors"),
        ("model_state_dict", {}, "has other weights than the network that it describes"),
        ("optimizer", None, "'optimizer' is None, expected an optimiser's state"),
        ("random", torch.zeros(3), "'random' is a Tensor, expected a tensor of bytes"),
        ("best", {"step": "x"}, "'best' is a dict, expected named numbers or nothing"),
    ],
)  # fmt: skip
def test_checkpoint_when_a_key_is_missing_or_wrong_then_named(content, tmp_path, key, value, text):
    path = tmp_path / "best.pt"
    changed = {**content, key: value}
    if value is ...:
        del changed[key]
    torch.save(changed, path)
    with pytest.raises(CheckpointError, match=re.escape(text)):
        load_checkpoint(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "text"),
    [
        (small_config(network={"base_channels": 100_000}), "has other weights than the network that it describes: .*, expected"),
        (small_config(network={"base_channels": 10**14}), "describes a network that cannot be built: Storage size calculation"),
        (Mim4dTrainConfig(network={"lift": {"num_extra_levels": 10**9}}), "cannot be built: it has more than .* parameters"),
        (Mim4dTrainConfig(network={"lift": {"num_voxels_zyx": (10**5,) * 3}}), "whose tables alone take|has other weights"),
        (MonoDdleTrainConfig(), "has other weights than the network that it describes"),
    ],
)
def test_checkpoint_when_its_configuration_is_absurd_then_refused_before_memory_is_taken(copied, config, text):
    path = copied[1] / "best.pt"
    content = torch.load(path, weights_only=True)
    content["config"] = config.model_dump_json()
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=text):
        load_network(path)


def test_last_checkpoint_when_its_states_do_not_fit_then_named(copied):
    manifest, folder = copied
    checkpoint = load_checkpoint(folder / "last.pt")
    for key, value in {"optimizer": {"state": {}, "param_groups": []}, "random": torch.zeros(3).byte()}.items():
        save_checkpoint(replace(checkpoint, **{key: value}), folder / "last.pt")
        with pytest.raises(CheckpointError, match="last.pt' cannot be gone on from: .*begin anew with --restart"):
            train(CONFIG, manifest, folder, machine=CPU)
    save_checkpoint(replace(checkpoint, loader={}), folder / "last.pt")
    with pytest.raises(DepthmillError, match="loader state has manifest None, this loader has"):
        train(CONFIG, manifest, folder, machine=CPU)


def test_training_when_best_is_of_another_network_then_evaluation_names_it(copied):
    manifest, folder = copied
    other = load_checkpoint(folder / "best.pt")
    network = {"base_channels": 8, "uncertainty": False, "plug_in": True}
    other.config = small_config(network=network)
    other.model = family_of(other.config).network(other.config).state_dict()
    save_checkpoint(other, folder / "best.pt")
    with pytest.raises(CheckpointError, match=r"best.pt' has the weights of another network: \d+ keys are unexpected"):
        evaluate_training(CONFIG, manifest, folder, machine=CPU)


def test_start_when_of_another_family_then_the_families_are_named(copied):
    config = MonoDdleTrainConfig()
    with pytest.raises(
        CheckpointError,
        match="is of a training of family semodepth, this training is of family monoddle, and train.start_from takes a whole network",
    ):
        load_start(MonoDdleFamily().network(config), copied[1] / "best.pt", FAMILIES)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda value: value.to_sparse(), "is sparse_coo of float32, expected strided of float32"),
        (lambda value: value.to("meta"), "is strided of float32 without values"),
        (lambda value: value.long(), "is strided of int64, expected strided of float32"),
        (lambda value: value.to(torch.complex64), "is strided of complex64"),
    ],
)
def test_checkpoint_when_weights_cannot_be_copied_value_by_value_then_named(content, tmp_path, change, text):
    ((key, value),) = content["model_state_dict"].items()
    torch.save({**content, "model_state_dict": {key: change(value)}}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=f"{re.escape(key)} {re.escape(text)}"):
        load_network(tmp_path / "best.pt")


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff\xe0"])
def test_checkpoint_when_no_file_of_torch_then_said_in_words(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(WeightsFileError, match="it is no file of tensors that torch wrote"):
        load_network(tmp_path / "x.pt")


def test_checkpoint_when_a_weight_is_no_number_then_no_network_is_made_of_it(copied):
    manifest, folder = copied
    best = load_checkpoint(folder / "best.pt")
    best.model["encoder.conv1.weight"][0, 0, 0, :2] = torch.tensor([math.nan, math.inf])
    save_checkpoint(best, folder / "best.pt")
    text = r"best.pt' has weights that are not numbers \(NaN or infinity\): (encoder.conv1|enc_conv1.0).weight \(2 of 1,176 values\). Its training"
    with pytest.raises(CheckpointError, match=text):
        load_network(folder / "best.pt")  # what evaluate and predict open
    with pytest.raises(CheckpointError, match=text):
        load_start(family_of(CONFIG).network(CONFIG), folder / "best.pt", FAMILIES)
    with pytest.raises(CheckpointError, match=text):
        evaluate_training(CONFIG, manifest, folder, machine=CPU)
    assert not (folder / "training.json").exists()
    with pytest.raises(CheckpointError, match=text):
        load_reference(best_of_public_code(best, folder), max_depth_m=80.0, plug_in=False, config=best.config.network)


def best_of_public_code(checkpoint, folder):
    """Return a file of the same weights as the public code keeps them, named alike."""
    path = folder / "public" / "best.pt"
    path.parent.mkdir()
    torch.save({"model_state_dict": {reference_key(key): value for key, value in checkpoint.model.items()}}, path)
    return path


def test_evaluation_when_a_network_answers_nan_then_it_is_not_the_best_and_gets_no_table(trained, tmp_path, monkeypatch):
    manifest, folder = trained
    config = CONFIG.model_copy(update={"evaluation": CONFIG.evaluation.model_copy(update={"split": "train"})})
    network = load_network(folder / "best.pt")
    sound = network.predict
    monkeypatch.setattr(network, "predict", lambda *inputs: sound(*inputs).fill_(float("nan")))
    family = family_of(config)
    measured = family.measure(network, manifest, config, CPU, torch.device("cpu"))
    assert math.isnan(measured.score)
    assert measured.text == "the network's depths on train are not numbers; it is not kept"
    with pytest.raises(
        DepthmillError, match=r"the network predicts depth that is not a number, as in \d+ frames of the split. No"
    ):
        family.evaluate(network, manifest, config, CPU, torch.device("cpu"), folder=tmp_path)
    assert not (tmp_path / "evaluation").exists()
