from __future__ import annotations

import dataclasses
import json
import shutil
import socket

import pytest

from model.families import FAMILIES, evaluate_training, load_checkpoint, load_network, train
from model.train.checkpoint import flat_keys
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.flows.sharing.hub_stand_in import TOKEN, running_hub
from tests.model.train.made_up_training import CPU, same, small_config

pytest.importorskip("safetensors", reason="safetensors is not installed: pip install safetensors")
hub_client = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed: pip install huggingface-hub")

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture(scope="module")
def training(tiny_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trainings") / "a"
    manifest = open_manifest(Store(str(tiny_store)))
    config = small_config(max_steps=1, evaluation={"num_strips": 0})
    train(config, manifest, folder, machine=CPU)
    evaluate_training(config, manifest, folder, machine=CPU)
    return folder


@pytest.fixture(scope="module")
def shared(training, tmp_path_factory):
    from flows.sharing.folder import share_training

    folder = tmp_path_factory.mktemp("shared") / "tiny-depth"
    share_training(training, folder, data_licence="cc-by-nc-sa-4.0")
    return folder


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(hub_client.constants, "HF_HUB_DISABLE_XET", True)  # the stand-in knows Git LFS only
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def test_share_when_the_licence_of_the_data_is_unknown_then_asked_for_and_nothing_written(depthmill, training, tmp_path):
    code, text = depthmill("share", training, "--out", tmp_path / "out")
    assert code == 2
    assert "the licence of the data is not known: it was trained on nuscenes/v1.0-mini. Say it with --data-licence, e.g. " in text
    assert not (tmp_path / "out").exists()
    code, text = depthmill("share", tmp_path / "none", "--out", tmp_path / "out", "--data-licence", "mit")
    assert code == 2
    assert "there is no folder" in text
    code, text = depthmill("share", tmp_path, "--out", tmp_path / "out", "--data-licence", "mit")
    assert code == 1
    assert "holds no complete training" in text


def test_share_when_the_training_is_complete_then_card_record_and_weights_without_names_of_this_machine(
    depthmill, training, tmp_path, tiny_store
):
    out = tmp_path / "tiny-depth"
    code, text = depthmill("share", training, "--out", out, "--data-licence", "cc-by-nc-sa-4.0", "--json")
    assert code == 0, text
    files = ["model.safetensors", "training.json", "evaluation/table.md", "evaluation/table.tex", "digests.json", "README.md"]
    assert json.loads(text)["files"] == files
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == sorted(files)
    assert load_checkpoint(out / "model.safetensors").config == load_checkpoint(training / "best.pt").config
    record, card = json.loads((training / "training.json").read_text()), (out / "README.md").read_text()
    fields = hub_client.ModelCard(card).data.to_dict()
    assert (fields["license"], fields["library_name"], fields["pipeline_tag"]) == (
        "cc-by-nc-sa-4.0",
        "depthmill",
        "depth-estimation",
    )
    family = FAMILIES.named("semodepth", where="test")
    measured = family.read_measures(training)["mae_mm@80"]
    assert hub_client.ModelCard(card).data.eval_results[0].metric_value == measured
    assert (training / "evaluation" / "table.md").read_text().strip() in card
    for said in (
        f"manifest `{record['manifest']}`",
        "nuscenes/v1.0-mini",
        f"{record['num_parameters']:,} parameters",
        "CC BY-NC-SA 4.0",
    ):
        assert said in card
    for path in out.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not any(of_the_machine.encode() in content for of_the_machine in (str(tiny_store), str(training))), path
    assert "host" in load_checkpoint(training / "best.pt").provenance
    assert "host" not in load_checkpoint(out / "model.safetensors").provenance
    code, text = depthmill("share", training, "--out", out, "--data-licence", "mit")
    assert code == 2
    assert "is not empty, and nothing in it is replaced. Choose another --out" in text


def test_shared_network_when_evaluated_then_the_table_of_the_training(depthmill, training, shared, tiny_store, tmp_path):
    weights = load_checkpoint(training / "best.pt").model
    assert same(weights, load_checkpoint(shared / "model.safetensors").model)
    code, text = depthmill("evaluate", shared, tiny_store, "--out", tmp_path / "again")
    assert code == 0, text
    again, before = (
        (folder / "table.md").read_text().splitlines()[2:] for folder in (tmp_path / "again", training / "evaluation")
    )
    assert again == before


def test_shared_weights_when_any_byte_is_changed_then_refused(shared, tmp_path):
    from model.errors import WeightsFileError

    path = tmp_path / "model.safetensors"
    content = (shared / "model.safetensors").read_bytes()
    header = int.from_bytes(content[:8], "little")
    places = [
        0,
        7,
        8,
        10,
        content.index(b"depthmill-sha256:"),
        content.index(b"depthmill-sha256:") + 20,
        header // 2,
        header + 7,
        header + 9,
        len(content) - 1,
    ]
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(WeightsFileError, match=r"is damaged|cannot be read"):
            load_network(path)
    path.write_bytes(content[:-5])
    with pytest.raises(WeightsFileError, match=r"is damaged: its content does not have the digest"):
        load_network(path)


def test_training_when_it_starts_from_a_shared_network_then_its_weights_are_the_first(shared, tiny_store, tmp_path):
    import torch

    from model.train.start import begin

    config = small_config(start_from=str(shared / "model.safetensors"))
    network = FAMILIES.of(config).network(config)
    origin = begin(network, config, FAMILIES)
    weights = load_checkpoint(shared / "model.safetensors").model
    assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())
    assert origin["start_manifest"] == open_manifest(Store(str(tiny_store))).path.fingerprint


def test_push_and_pull_when_the_hub_answers_then_the_same_files_come_back_and_strangers_see_nothing(
    depthmill, shared, hub, tmp_path, monkeypatch
):
    code, text = depthmill("push", shared, "me/tiny-depth")
    assert code == 0, text
    assert f"to {hub.url}/me/tiny-depth, private, commit " in text
    assert len(hub.models["me/tiny-depth"].commits) == 1
    assert any(request.startswith("PUT /lfs/") for request in hub.requests)
    code, text = depthmill("pull", "me/tiny-depth", "--out", tmp_path / "pulled")
    assert code == 0, text
    assert "family semodepth, trained on manifest" in text
    content = {path.relative_to(shared): path.read_bytes() for path in shared.rglob("*") if path.is_file()}
    assert content == {
        path.relative_to(tmp_path / "pulled"): path.read_bytes() for path in (tmp_path / "pulled").rglob("*") if path.is_file()
    }
    code, text = depthmill("pull", "me/tiny-depth", "--out", tmp_path / "b", "--revision", "v9")
    assert (code, "has no such revision. Leave --revision out for the newest" in text) == (1, True)
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    code, text = depthmill("pull", "me/tiny-depth", "--out", tmp_path / "b")
    assert code == 1
    assert f"there is no model 'me/tiny-depth' at {hub.url}, or it is private and you may not see it" in text
    code, text = depthmill("push", shared, "me/tiny-depth")
    assert code == 1
    assert "The token may not push 'me/tiny-depth': take one that may (hf auth login, or HF_TOKEN)" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pulled"]


def test_pull_when_what_the_hub_has_is_damaged_or_of_another_program_then_nothing_is_kept(depthmill, shared, hub, tmp_path):
    assert depthmill("push", shared, "me/tiny-depth")[0] == 0
    _, files = hub.models["me/tiny-depth"].commits[0]
    hub.models["me/tiny-depth"].commits.append(("1" * 40, {**files, "evaluation/old/table.md": b"of a former network"}))
    assert depthmill("pull", "me/tiny-depth", "--out", tmp_path / "a")[0] == 0
    assert not list((tmp_path / "a").rglob("old/*"))
    table = files["evaluation/table.md"]
    for number, (changed, said) in enumerate(
        {
            "evaluation/table.md": "evaluation/table.md: its content is not what was written",
            "model.safetensors": "model.safetensors: its content is not what was written",
            "digests.json": "cannot be read: its content is not what was written",
        }.items()
    ):
        damaged = {**files, changed: files[changed].replace(b"0", b"1", 1)}
        hub.models["me/tiny-depth"].commits.append((str(number + 2) * 40, damaged))
        code, text = depthmill("pull", "me/tiny-depth", "--out", tmp_path / "b")
        assert code == 1
        assert said in text
        assert "Nothing was kept" in text
    hub.models["me/tiny-depth"].commits.append(("8" * 40, {"README.md": table}))
    code, text = depthmill("pull", "me/tiny-depth", "--out", tmp_path / "b")
    assert "model 'me/tiny-depth' holds no network that depthmill shared: digests.json is not there. Check the name" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_push_when_the_model_is_public_or_the_name_or_token_is_wrong_then_nothing_is_sent(
    depthmill, shared, hub, tmp_path, monkeypatch
):
    code, text = depthmill("push", shared, "me/tiny depth")
    assert (code, "'me/tiny depth' cannot be the name of a model: expected USER/NAME" in text) == (2, True)
    assert depthmill("push", shared, "me/open", "--public")[0] == 0
    code, text = depthmill("push", shared, "me/open")
    assert (code, "model 'me/open' is public. Give --public if everybody may see this" in text) == (2, True)
    damaged = shutil.copytree(shared, tmp_path / "damaged")
    (damaged / "training.json").write_bytes((damaged / "training.json").read_bytes().replace(b"semodepth", b"semodeptH", 1))
    code, text = depthmill("push", damaged, "me/other")
    assert (code, "training.json: its content is not what was written" in text) == (1, True)
    code, text = depthmill("push", tmp_path, "me/other")
    assert (code, "is no shared network, or not all of it: digests.json is missing. Write one with depthmill share" in text) == (
        1,
        True,
    )
    monkeypatch.setattr(hub_client, "get_token", lambda: None)
    code, text = depthmill("push", shared, "me/other")
    assert (code, f"pushing to {hub.url} needs a token, and there is none. Run hf auth login, or set HF_TOKEN" in text) == (
        2,
        True,
    )
    assert set(hub.models) == {"me/open"}


def test_pull_when_no_hub_is_there_then_said_and_nothing_is_kept(depthmill, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
    code, text = depthmill("pull", "me/tiny-depth", "--out", tmp_path / "b")
    assert code == 1
    assert "cannot pull 'me/tiny-depth' at http://127.0.0.1:" in text
    assert "Check the network and HF_ENDPOINT, then run the same command" in text
    assert not list(tmp_path.iterdir())


def test_paths_of_a_configuration_when_shared_then_only_file_names():
    from model.train.shared_weights import without_machine, without_paths

    config = small_config(start_from="/home/me/secret/best.pt")
    assert flat_keys(without_paths(config).model_dump(mode="json"))["train.start_from"] == "best.pt"
    record = {
        "store": "/data",
        "start_file": "/home/me/best.pt",
        "config": config.model_dump(mode="json"),
        "versions": {"host": "h", "torch": "2"},
    }
    kept = without_machine(record)
    assert "store" not in kept
    assert (kept["start_file"], kept["config"]["start_from"], kept["versions"]) == ("best.pt", "best.pt", {"torch": "2"})


def test_backbone_when_its_pre_training_is_shared_then_taken_as_from_a_checkpoint(tmp_path):
    import torch

    from model.semodepth.net import SemoDepth
    from model.train.checkpoint import load_checkpoint as load_any
    from model.train.shared_weights import shared_content
    from model.train.start import load_backbone
    from tests.model.train.test_transfer import pre_trained

    path, masked = pre_trained(tmp_path / "best.pt", name="resnet34", base_channels=8)
    shared = tmp_path / "model.safetensors"
    shared.write_bytes(shared_content(load_any(path, FAMILIES, for_backbone=True)))
    encoder = SemoDepth(small_config().network).encoder
    load_backbone(encoder, shared, FAMILIES)
    assert all(torch.equal(value, masked.state_dict()[key]) for key, value in encoder.state_dict().items())


def test_card_when_the_licence_is_none_that_a_hub_knows_then_other_with_its_name(training):
    from flows.sharing.card import CardFacts, card_text

    record = json.loads((training / "training.json").read_text())
    family = FAMILIES.named("semodepth", where="test")
    facts = CardFacts("a", family, record, {"mae_mm@80": float("nan")}, ["mae_mm@80"], "| t |", [], "CC BY-NC-SA 4.0")
    data = hub_client.ModelCard(card_text(facts)).data
    assert (data.license, data.license_name, data.eval_results) == ("other", "cc-by-nc-sa-4.0", None)
    simulated = card_text(dataclasses.replace(facts, releases=["simulated/v2"], data_licence="mit"))
    assert "learned from drives that depthmill simulated. They are MIT, like its code." in simulated
