from __future__ import annotations

import pytest
import torch

from model.families import FAMILIES, evaluate_training, load_checkpoint, load_network, parse_train_config, train
from model.semodepth import family as semodepth_family
from model.semodepth.config import SemoDepthTrainConfig
from model.semodepth.net import SemoDepth
from model.train.config import Machine
from model.train.loop import read_training
from storage_schemas.errors import RecipeError
from tests.model.data.made_up_store import write_store
from tests.model.train.made_up_training import small_config, steps, weights

CPU = Machine(accelerator="cpu")
ON_TRAIN = {"split": "train", "target": "depth_single", "num_strips": 0}
LAPLACE = {"network": {"base_channels": 8, "uncertainty": True}, "loss": {"distill": {"form": "laplace"}}}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Two frames with everything."""
    return write_store(tmp_path_factory.mktemp("store"), frames=(2,), height=36, width=64).manifest


@pytest.fixture(scope="module")
def half_taught(tmp_path_factory):
    """Two scenes of a frame; the second has no monocular depth."""
    root = tmp_path_factory.mktemp("store")
    return write_store(root, frames=(1, 1), height=36, width=64, without={"scene-0001": ("depth_mono",)}).manifest


def config_of(*, mono: bool = True, **changes) -> SemoDepthTrainConfig:
    data = {"mono": mono, "incomplete": "leave_out", "augment": {"flip_probability": 0.5}, **changes.pop("data", {})}
    return small_config(**{"max_steps": 3, "evaluation": ON_TRAIN, "data": data, **changes})


def test_training_when_the_distillation_weighs_nothing_then_the_same_weights_as_without(manifest, tmp_path):
    plain = config_of(loss={"distill": {"form": "none"}}, network={"base_channels": 8, "plug_in": True})
    weightless = config_of(
        loss={"distill": {"form": "laplace", "weight": 0.0}}, network={"base_channels": 8, "plug_in": True, "uncertainty": True}
    )
    train(plain, manifest, tmp_path / "plain", machine=CPU)
    train(weightless, manifest, tmp_path / "weightless", machine=CPU)
    own, found = weights(tmp_path / "plain"), weights(tmp_path / "weightless")
    assert len(own) > 100
    assert all(torch.equal(own[key], found[key]) for key in own)
    rows = [steps(tmp_path / name) for name in ("plain", "weightless")]
    for row in [*rows[0], *rows[1]]:
        assert row["distill"] == row["calibration"] == row["teacher_mae_m"] == row["teacher_log_scale"] == "nan"
    assert rows[0] == rows[1]


def test_training_when_distilled_without_the_plug_in_branch_then_evaluates_frames_without_a_teacher(half_taught, tmp_path):
    train(config_of(**LAPLACE, max_steps=2), half_taught, tmp_path, machine=CPU)
    rows = steps(tmp_path)
    assert len(rows) == 2
    assert all(float(row["distill"]) > 0 and 0 < float(row["teacher_mae_m"]) < 120 for row in rows)
    assert float(rows[0]["teacher_log_scale"]) == 0.0 and float(rows[1]["teacher_log_scale"]) != 0.0
    evaluate_training(load_checkpoint(tmp_path / "best.pt").config, half_taught, tmp_path, machine=CPU)
    assert read_training(tmp_path)["val_frames"] == 2
    assert not (tmp_path / "evaluation" / "without-mono").exists()
    network = load_network(tmp_path / "best.pt")
    assert isinstance(network, SemoDepth) and network.config.uncertainty


def test_loss_when_distilled_then_the_composite_one_and_the_weighted_term(manifest, tmp_path):
    train(config_of(**LAPLACE, max_steps=1), manifest, tmp_path, machine=CPU)
    row = {name: float(value) for name, value in steps(tmp_path)[0].items()}
    composite = row["log"] + row["linear"] + 0.5 * row["grad"] + row["sparse"]
    assert row["loss"] == pytest.approx(composite + 0.5 * row["distill"], rel=1e-5)


def test_teacher_when_the_plug_in_input_is_dropped_then_still_teaches(manifest, tmp_path, monkeypatch):
    given: list[float] = []
    plain = SemoDepth.forward

    def watched(self, image_u8, radar_m, mono_m=None, **options):
        if self.training:
            given.append(float(mono_m.amax()))
        return plain(self, image_u8, radar_m, mono_m, **options)

    monkeypatch.setattr(SemoDepth, "forward", watched)
    config = config_of(
        data={"augment": {"mono_dropout": 1.0}},
        network={"base_channels": 8, "plug_in": True},
        loss={"distill": {"form": "l1"}},
        max_steps=2,
    )
    train(config, manifest, tmp_path, machine=CPU)
    assert given == [0.0, 0.0]
    assert all(float(row["distill"]) > 0 for row in steps(tmp_path))
    assert all(row["calibration"] == row["teacher_log_scale"] == "nan" for row in steps(tmp_path))


def test_name_of_a_training_when_distillation_is_off_then_what_it_was_before_there_was_any():
    plain = SemoDepthTrainConfig()
    dump = plain.model_dump(mode="json")
    assert set(dump["loss"]) == {"log", "linear", "grad", "sparse", "huber_delta_m"}
    assert "uncertainty" not in dump["network"]
    assert "distill" not in plain.model_dump_json()
    spelled = {"loss": {"distill": {"form": "none"}}, "network": {"uncertainty": False}}
    assert SemoDepthTrainConfig.model_validate(spelled).fingerprint("m") == plain.fingerprint("m")
    assert FAMILIES.read(plain.model_dump_json()) == plain


def test_name_of_a_training_when_distillation_is_on_then_another_and_read_back_the_same():
    configs = [SemoDepthTrainConfig.model_validate({**LAPLACE, "data": {"mono": True}})]
    configs += [configs[0].model_copy(update={"loss": configs[0].loss.model_copy(update={"distill": other})}) for other in (
        configs[0].loss.distill.model_copy(update={"calibration": 2.0}),
        configs[0].loss.distill.model_copy(update={"far_m": 60.0}),
    )]  # fmt: skip
    plain = SemoDepthTrainConfig.model_validate({"data": {"mono": True}})
    assert len({one.fingerprint("m") for one in (plain, *configs)}) == 4
    assert all(FAMILIES.read(one.model_dump_json()) == one for one in configs)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"loss": {"distill": {"form": "l1"}}},
            "recipe 'r.yaml': loss.distill.form is l1 and data.mono is false, so there is no teacher's map to learn from; set "
            "data.mono to true",
        ),
        (
            {"loss": {"distill": {"form": "gauss"}}, "data": {"mono": True}},
            "loss.distill.form gauss reads the uncertainty head; set network.uncertainty to true, or choose the form l1 or silog",
        ),
        (
            {"network": {"uncertainty": True}, "loss": {"distill": {"form": "l1"}}, "data": {"mono": True}},
            "network.uncertainty is true, and loss.distill.form l1 does not train that head; choose the form laplace or gauss",
        ),
        ({"network": {"uncertainty": True}}, "loss.distill.form none does not train that head"),
        (
            {"data": {"mono": True}},
            "train.data.mono is true, and the network has no branch for monocular depth. Set train.network.plug_in to true, "
            "train.loss.distill.form to distil from it, or train.data.mono to false",
        ),
        ({"loss": {"distill": {"forms": "l1"}}}, "unknown key 'train.loss.distill.forms'; did you mean 'form'"),
        ({"loss": {"distill": {"form": "huber"}}}, "train.loss.distill.form is 'huber': Input should be 'none', 'l1', 'silog'"),
    ],
)
def test_recipe_when_its_distillation_does_not_fit_then_says_what_to_change(changes, text):
    with pytest.raises(RecipeError) as found:
        parse_train_config(changes, where="r.yaml")
    assert text in str(found.value)


def test_recipe_when_distillation_reads_monocular_depth_without_the_branch_then_taken():
    config = parse_train_config({**LAPLACE, "data": {"mono": True}}, where="r.yaml")
    assert isinstance(config, SemoDepthTrainConfig)
    assert not config.gives_mono
    assert parse_train_config({"network": {"plug_in": True}, "data": {"mono": True}}, where="r.yaml").gives_mono


def test_console_when_distilled_then_says_how_far_the_teacher_is():
    family = semodepth_family.SemoDepthFamily()
    values = {"mae_mm": 1500.0, "teacher_mae_m": 2.25}
    assert family.step_words(values) == "error on targets 1.50 m, 2.25 m from the teacher"
    assert family.step_words({**values, "teacher_mae_m": float("nan")}) == "error on targets 1.50 m"
