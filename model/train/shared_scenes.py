"""Scenes that a network was trained on and is measured on: such figures say how well it remembers, not how well it sees."""

from __future__ import annotations

from storage_schemas.errors import ManifestError
from storage_schemas.manifest import Manifest


def scenes_of_split(manifest: Manifest, split: str) -> set[str]:
    """Return the names of the scenes that have samples in a split."""
    samples = manifest.samples
    return {scene for scene, of_scene in zip(samples["scene"], samples["split"], strict=True) if of_scene == split}


def refuse_shared_scenes(manifest: Manifest, *, trained: str, measured: str) -> None:
    """Check that two different splits of a manifest share no scene; whoever measures on the trained split itself says so.

    Raises:
        ManifestError: they share a scene.
    """
    shared = scenes_of_split(manifest, trained) & scenes_of_split(manifest, measured) if trained != measured else set()
    if shared:
        raise ManifestError(
            f"scene '{min(shared)}' has samples in split '{trained}' and in split '{measured}' of manifest "
            f"{manifest.path.fingerprint} ({len(shared)} such scenes). What is trained on must not be measured on: give each "
            "scene one split with stages.build_manifest.splits in the recipe, and run it"
        )
