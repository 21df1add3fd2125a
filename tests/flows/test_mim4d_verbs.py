"""What the verbs say of the family that only pre-trains: it trains, and whoever asks it for more is told."""

from __future__ import annotations

import pytest
import torch

from flows.ablation_measures import measures_of
from flows.evaluate_verb import open_network
from model.train.checkpoint import Checkpoint, save_checkpoint
from model.train.families import family_of, parse_train_config
from storage_schemas.errors import RecipeError


@pytest.fixture
def config():
    return parse_train_config({"family": "mim4d"}, where="r.yaml")


def test_checkpoint_of_mim4d_when_evaluated_then_said(config, tmp_path):
    assert family_of(config).name == "mim4d"
    tiny = config.model_copy(update={"network": type(config.network).tiny()})
    network = family_of(tiny).network(tiny)
    save_checkpoint(Checkpoint(tiny, "m", 1, network.state_dict(), {}, {}, None, torch.get_rng_state(), {}), tmp_path / "best.pt")
    with pytest.raises(RecipeError, match=r"is of family mim4d, which predicts neither depth maps nor objects by itself"):
        open_network(tmp_path / "best.pt", "store", reference=False, max_depth_m=80.0, plug_in=False)


def test_ablation_of_mim4d_when_asked_for_then_said(config):
    with pytest.raises(RecipeError, match="an ablation knows measures of semodepth and monoddle only"):
        measures_of(config)
