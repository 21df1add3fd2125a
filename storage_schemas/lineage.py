"""What a unit was made from: its fingerprint, and the record that is written last as its commit mark.

The fingerprint is the name of the unit. It depends on what determines the content (stage, version, layout version, params,
input fingerprints, source digest) and on nothing else. The provenance (digests, commit, versions, host, seconds, counts)
says how this copy came to be; it never enters the fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import operator
import platform
import subprocess
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

FINGERPRINT_CHARS = 16
"""Hex characters of a fingerprint: 64 bits, a collision among 10 million units has a chance of 3 in a million."""

LINEAGE_FILE = "lineage.json"
"""Name of the commit mark inside a unit."""

_DIGEST_KEY = b',\n "record_sha256": "'

LINEAGE_END = b"\n}"
"""Last bytes of a commit mark. One that was cut anywhere ends otherwise, because inner braces are indented."""


class SourceRef(BaseModel):
    """What of the raw data a unit was made from, when the stage reads raw data."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    release: str = Field(description="name of the data set release, e.g. nuscenes/v1.0-trainval")
    digest: str = Field(description="digest of the scene's rows in the source's tables")
    package: str = Field(
        default="",
        exclude_if=operator.not_,  # the key is newer than many units: without a package their fingerprints must stay
        description="package that brings the kind of source; empty for this repository's own",
    )


class Identity(BaseModel):
    """Everything that determines a unit's content; its canonical JSON is hashed into the fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    stage: str
    stage_version: int
    layout: str
    layout_version: int
    scene: str = Field(description="scene name; 'all' for a unit over the whole data set")
    camera: str = Field(description="camera channel; 'all' for a unit that does not depend on one")
    params: dict[str, Any]
    inputs: dict[str, str] = Field(description="input name -> fingerprint")
    source: SourceRef | None

    def fingerprint(self) -> str:
        """Return the first 16 hex characters of the sha256 of the canonical JSON."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()[:FINGERPRINT_CHARS]


class FileRecord(BaseModel):
    """Size and digest of one file of a unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    num_bytes: int
    sha256: str


class LineageRecord(BaseModel):
    """Content of lineage.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    identity: Identity
    fingerprint: str
    files: dict[str, FileRecord] = Field(description="every other file of the unit")
    checksums: str = Field(
        default="",
        exclude_if=operator.not_,  # this key and record_sha256 are newer than many units
        description="checksum behind each chunk; empty for a unit of an older depthmill, which wrote none",
    )
    counts: dict[str, float] = Field(description="what the stage counted, e.g. frames, share of pixels measured")
    seconds: float = Field(description="wall time of the kernel")
    written_utc: str
    provenance: dict[str, str] = Field(description="commit, dirty flag, package versions, host of the writing process")
    record_sha256: str = Field(default="", exclude_if=operator.not_, description="digest of the rest of this record")

    def to_json(self) -> bytes:
        """Return the content of the file: the record, then the digest of all bytes before that digest."""
        body = self.model_dump_json(indent=1, exclude={"record_sha256"}).encode().removesuffix(LINEAGE_END)
        return body + _DIGEST_KEY + hashlib.sha256(body).hexdigest().encode() + b'"' + LINEAGE_END

    @property
    def is_sealed(self) -> bool:
        """Say whether a flipped bit would be noticed wherever it is: chunks have checksums and the record a digest."""
        return bool(self.checksums and self.record_sha256)


def is_unchanged(content: bytes) -> bool:
    """Say whether a lineage.json with a digest is what was written."""
    body, _, rest = content.rpartition(_DIGEST_KEY)
    return rest.removesuffix(b'"' + LINEAGE_END) == hashlib.sha256(body).hexdigest().encode()


@cache
def provenance() -> dict[str, str]:
    """Return commit, dirty flag, package versions and host of this process (computed once)."""
    facts = {"host": platform.node(), "python": platform.python_version(), "platform": platform.platform()}
    for package in ("depthmill", "numpy", "numba", "zarr", "pyarrow"):
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = "not installed"
    facts.update(_git_state(Path(__file__).resolve().parent))
    return facts


def _git_state(folder: Path) -> dict[str, str]:
    def git(*args: str) -> str:
        return subprocess.run(("git", "-C", str(folder), *args), capture_output=True, text=True, check=True, timeout=10).stdout

    try:
        return {
            "commit": git("rev-parse", "HEAD").strip(),
            "is_dirty": str(bool(git("status", "--porcelain", "--untracked-files=no").strip())).lower(),
        }
    except (OSError, subprocess.SubprocessError):
        return {"commit": "unknown", "is_dirty": "unknown"}
