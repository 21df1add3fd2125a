"""Frozen records that pass between sources, planner, runner and stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.finding import Finding
from storage_schemas.lineage import Identity
from storage_schemas.store import UnitPath

ALL = "all"
"""Scene or camera name of a unit that does not belong to a single one."""

Status = Literal["OK", "ERROR", "SKIP"]


@dataclass(frozen=True)
class SceneInfo:
    """What the planner needs to know of a scene without opening its files.

    Attributes:
        name: scene name, unique within the source.
        digest: digest of everything the source's tables say about the scene.
        channels: sensor channels that have key-frame files in this scene.
        offers: what stages may ask the scene for, by name (``pipeline/capability.py``) -> digest of
            what the source's tables say about it, "" where ``digest`` covers it.
        modalities: channel -> camera, lidar or radar, where the source says it.
        findings: what the source found in what it has of the scene, for the files that a recipe reads.
        left_out: why the scene cannot be used, e.g. that its files are not there; "" = it can.
    """

    name: str
    digest: str
    channels: tuple[str, ...]
    offers: Mapping[str, str] = field(default_factory=dict)
    modalities: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    left_out: str = ""


@dataclass(frozen=True)
class WorkItem:
    """One unit that a recipe asks for, with the reason why it must be made (None = the store has it)."""

    stage: str
    identity: Identity
    inputs: Mapping[str, UnitPath]
    reason: str | None

    def __repr__(self) -> str:
        """Return the unit's address and the reason; a notebook shows whole lists of these."""
        return f"<{self.path.key}: {self.reason or 'up to date'}>"

    @property
    def path(self) -> UnitPath:
        """Address of the unit."""
        return UnitPath.of(self.identity)

    @property
    def title(self) -> str:
        """Scene, and camera where the unit belongs to one."""
        return self.identity.scene if self.identity.camera == ALL else f"{self.identity.scene} {self.identity.camera}"


@dataclass(frozen=True)
class ItemResult:
    """What became of one work item."""

    stage: str
    scene: str
    camera: str
    fingerprint: str
    status: Status
    seconds: float
    message: str
    counts: Mapping[str, float] = field(default_factory=dict)
    num_bytes: int = 0
    """Of the unit's files, as they were written."""

    @property
    def title(self) -> str:
        """Scene, and camera where the unit belongs to one."""
        return self.scene if self.camera == ALL else f"{self.scene} {self.camera}"

    def as_event(self) -> dict[str, Any]:
        """Return the JSON form for events.jsonl."""
        return {
            "stage": self.stage,
            "scene": self.scene,
            "camera": self.camera,
            "unit": self.fingerprint,
            "status": self.status,
            "seconds": round(self.seconds, 4),
            "message": self.message,
            "counts": dict(self.counts),
            "num_bytes": self.num_bytes,
        }
