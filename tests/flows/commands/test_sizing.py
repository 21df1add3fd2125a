"""What init proposes: a batch that fits the GPU it finds, and a small network where there is none."""

from __future__ import annotations

import pytest
import yaml

from flows.new_recipe.sizing import largest_batch, proposed
from model.families import FAMILIES, family_of, parse_train_config
from pipeline.sources.recipe_text import recipe_text

LINES = [
    ("store: /data/store", ""),
    ("train:", "read by depthmill train only"),
    ("  data: {batch_size: 12, radar: false}", "27,430 frames of the train split"),
    ("  epochs: 50", "published"),
]
PUBLISHED_PX = (900, 1600)


def train_of(lines):
    return yaml.safe_load(recipe_text([], lines))["train"]


def with_gpu(monkeypatch, gigabytes):
    monkeypatch.setattr("model.devices.gpu_gigabytes", lambda: gigabytes)


@pytest.mark.parametrize("gigabytes", [8, 12, 24, 48, 80, 141])
def test_gpu_when_it_is_small_then_batches_that_fit_make_one_step_of_the_published_size(gigabytes, monkeypatch):
    with_gpu(monkeypatch, gigabytes)
    train = train_of(proposed(LINES, train_of(LINES), PUBLISHED_PX))
    config = parse_train_config(train, where="test")
    assert config.data.batch_size * config.accumulate == 12
    assert train["data"]["radar"] is False and config.epochs == 50
    size = family_of(config).step_size
    needs_gb = size.state_gb + config.data.batch_size * size.frame_at(PUBLISHED_PX)
    assert needs_gb <= 0.85 * gigabytes or config.data.batch_size == 1


def test_gpu_when_images_are_small_then_the_published_batch_stays(monkeypatch):
    with_gpu(monkeypatch, 24)
    assert proposed(LINES, train_of(LINES), (90, 160)) == LINES


def test_machine_without_a_gpu_when_asked_then_a_small_network_is_proposed_in_comments_that_are_sound(monkeypatch):
    with_gpu(monkeypatch, None)
    lines = proposed(LINES, train_of(LINES), PUBLISHED_PX)
    text = recipe_text([], lines)
    assert train_of(lines) == train_of(LINES)
    assert "# no GPU is here, and the training above takes weeks on a CPU" in text
    keys = yaml.safe_load(text[text.index("# network:") :].replace("  # ", "").removeprefix("# "))
    assert keys == dict(FAMILIES.default.small_training)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.small_training], ids=lambda family: family.name)
def test_small_training_when_it_is_read_then_its_network_is_a_fraction_of_the_published_one(family):
    small = parse_train_config({"family": family.name, **family.small_training}, where="test")
    sizes = [sum(weight.numel() for weight in family.network(config).parameters()) for config in (small, family.config())]
    assert sizes[0] < sizes[1] / 8


def test_batch_when_memory_is_given_then_it_is_a_divisor_that_fits():
    assert [largest_batch(gigabytes, 4.0, 0.6, 12) for gigabytes in (1, 8, 16, 24, 48, 80)] == [1, 1, 3, 4, 6, 12]


def test_lines_when_there_is_nothing_to_train_then_they_stay():
    assert proposed(LINES[:1], {}, PUBLISHED_PX) == LINES[:1]
