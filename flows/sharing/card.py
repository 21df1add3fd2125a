"""The model card of a shared network: what it is, how it was measured, on what data it was trained, under which licence.

Source https://huggingface.co/docs/hub/model-cards (the fields between the dashes, which a hub searches by)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from model.train.family import Family

_KNOWN_LICENCES = {
    "cc-by-nc-sa-4.0": "CC BY-NC-SA 4.0: name the source, no commercial use, and share what you derive under the same terms",
    "cc-by-nc-sa-3.0": "CC BY-NC-SA 3.0: name the source, no commercial use, and share what you derive under the same terms",
    "mit": "MIT",
}
"""What the licences of common data sets ask for, by the name that a hub knows."""


@dataclass(frozen=True)
class CardFacts:
    """What a model card says.

    Attributes:
        name: of the model.
        family: of the network.
        record: of the training, without names of this machine.
        measures: what was measured, by name.
        headline: names of the measures that are shown to a hub's search.
        table: the evaluation's table, Markdown.
        releases: data sets behind the manifest; empty if they are not known.
        data_licence: of the data.
    """

    name: str
    family: Family[Any]
    record: Mapping[str, Any]
    measures: Mapping[str, float]
    headline: Sequence[str]
    table: str
    releases: Sequence[str]
    data_licence: str


def card_text(facts: CardFacts) -> str:
    """Return the text of README.md, with the fields for a hub's search on top."""
    return f"---\n{_fields(facts)}\n---\n\n{_body(facts)}"


def _fields(facts: CardFacts) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    family, record = facts.family, facts.record
    task = family.hub_task or "other"
    results = [
        EvalResult(
            task_type=task,
            dataset_type=", ".join(facts.releases) or "depthmill manifest",
            dataset_name=f"manifest {record['manifest']}",
            metric_type=name,
            metric_value=facts.measures[name],
        )
        for name in facts.headline
        if math.isfinite(facts.measures.get(name, math.nan))
    ]
    is_of_hub = re.fullmatch(r"[a-z0-9][a-z0-9.-]*", facts.data_licence) is not None  # another name would be refused there
    data = ModelCardData(
        license=facts.data_licence if is_of_hub else "other",
        license_name=None if is_of_hub else re.sub(r"[^a-z0-9.]+", "-", facts.data_licence.lower()).strip("-"),
        library_name="depthmill",
        pipeline_tag=family.hub_task or None,
        tags=["depthmill", family.name],
        model_name=facts.name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml()).strip()


def _body(facts: CardFacts) -> str:
    record, family = facts.record, facts.family
    trained = [
        f"- Data: {', '.join(facts.releases) or 'not recorded'}, pinned by manifest `{record['manifest']}`",
        f"- Steps: {record['num_steps']} on {record.get('train_frames') or 'an unknown number of'} frames, in "
        f"{record.get('trained_in', 'float32')} on {record.get('device', 'an unknown device')}",
        f"- Checkpoint: {record.get('choice', 'chosen by validation')}",
        f"- Made by: depthmill {record.get('versions', {}).get('depthmill', 'unknown')}, commit {record.get('commit', 'unknown')}"
        f"{' with local changes' if record.get('is_dirty') == 'true' else ''}",
    ]
    if "start_family" in record:
        trained.append(
            f"- Began with: a checkpoint of family {record['start_family']} ({record.get('start_file')}, SHA-256 "
            f"`{record.get('start_sha256')}`), trained on manifest `{record.get('start_manifest')}`"
        )
    if "imagenet_sha256" in record:
        trained.append(
            f"- Began with: classification weights {record.get('imagenet_file')}, SHA-256 `{record['imagenet_sha256']}`"
        )
    notices = [f"- {notice}" for notice in record.get("notices", ())] or [
        "- It was measured on the data named above and on no other."
    ]
    licence = _KNOWN_LICENCES.get(facts.data_licence, facts.data_licence)
    if facts.data_licence == "mit" and facts.releases and all(release.startswith("simulated/") for release in facts.releases):
        of_weights = "The weights were learned from drives that depthmill simulated. They are MIT, like its code."
    else:
        of_weights = (
            f"The weights were learned from data under this licence: {licence}. They are shared under the same terms. "
            "The code of depthmill is MIT."
        )
    # the table of an evaluation begins with a title of its own
    parts = [
        f"# {facts.name}",
        f"This is {family.noun} of depthmill's family {family.name}. It has {record['num_parameters']:,} parameters.",
        "## Use",
        "```\npip install 'depthmill[train,share]'\ndepthmill pull USER/NAME --out model\n"
        f"depthmill {'predict model IMAGES --out predictions' if family.predicts else 'evaluate model recipe.yaml'}\n```",
        "## Results",
        facts.table.strip(),
        "## Training",
        "\n".join(trained),
        "## Limits",
        "\n".join(notices),
        "## Licence",
        of_weights,
        "## Configuration",
        f"```yaml\n{yaml.safe_dump({'train': dict(record['config'])}, sort_keys=False).strip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"
