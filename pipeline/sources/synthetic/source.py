"""The simulated world as a source: a plan needs its parameters only, a run writes the world once and reads it as nuScenes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline.capability import CAMERA_SWEEPS, OBJECTS
from pipeline.sources import synthetic
from pipeline.sources.nuscenes.config import NuScenesConfig
from pipeline.sources.nuscenes.files import NuScenesFiles
from pipeline.sources.nuscenes.source import NuScenesSource, offers_of_drive
from pipeline.sources.synthetic.config import SyntheticConfig
from pipeline.types import SceneInfo
from storage_schemas.errors import SourceError
from storage_schemas.remote_path import is_url


class SyntheticSource:
    """A simulated world that is written out when it is first needed.

    Args:
        config: the world's parameters and where to write it.
        cache_folder: default place, and where the index of the tables is kept.
    """

    release = f"simulated/v{synthetic.WORLD_VERSION}"

    def __init__(self, config: SyntheticConfig, cache_folder: Path) -> None:
        if config.root and is_url(config.root):
            raise SourceError(
                f"source root '{config.root}' is a URL, and a simulated world is written to a disk. Set source.root to a folder; "
                "a world that was uploaded is read with source.kind: nuscenes"
            )
        self.params = config.params
        self._cache = cache_folder
        names = synthetic.scene_names(self.params)
        try:
            self._digests = [synthetic.scene_digest(self.params, index) for index in range(len(names))]
        except OSError as error:
            raise SourceError(
                f"source.trajectories '{self.params.trajectories}' cannot be read: {error.strerror}. Give the path of a "
                "mini_val_scenes.json, or leave the key out for a synthetic route"
            ) from error
        self._names = names
        fixed = self.params.model_copy(update={"scenes": 1})  # another number of scenes keeps the folder, and so the scenes in it
        key = hashlib.sha256(f"{synthetic.WORLD_VERSION} {fixed.model_dump_json()}".encode()).hexdigest()[:16]
        self.root = Path(config.root).expanduser().absolute() if config.root else cache_folder / "simulated" / key

    def scenes(self) -> list[SceneInfo]:
        """Return the scenes; known from the parameters alone."""
        sweeps = {CAMERA_SWEEPS} if self.params.camera_sweeps else set()
        kinds = (("camera", self.params.cameras), ("lidar", ("LIDAR_TOP",)), ("radar", self.params.radars))
        modalities = {channel: kind for kind, channels in kinds for channel in channels}
        offers = dict.fromkeys(offers_of_drive(set(modalities.values()), has_truth=True) | {OBJECTS} | sweeps, "")
        channels = tuple(sorted(modalities))
        return [
            SceneInfo(name, digest, channels, offers, modalities) for name, digest in zip(self._names, self._digests, strict=True)
        ]

    def preparation(self) -> str | None:
        """Say that the world is to be simulated first, None if it exists."""
        if synthetic.is_complete(self.params, self.root):
            return None
        return f"first the world of {self.params.scenes} scenes is simulated in {self.root}"

    def prepare(self, *, num_workers: int = 1) -> None:
        """Write the world unless it exists, and index its tables.

        Raises:
            SourceError: the folder holds another data set, or cannot be written.
        """
        if not synthetic.is_complete(self.params, self.root):
            self._check_folder()
            try:
                synthetic.write_world(self.params, self.root, num_workers=num_workers)
            except OSError as error:
                raise SourceError(
                    f"cannot write the simulated world to '{self.root}': {error.strerror or error}. Free some space, give this "
                    "user write permission there, or set source.root in the recipe; finished scenes are kept"
                ) from error
        self._on_disk().scenes()

    def _check_folder(self) -> None:
        """Refuse to mix a simulated world into a data set that was not simulated."""
        if (self.root / synthetic.version_name(self.params)).exists() and not (self.root / "simulated").is_dir():
            raise SourceError(
                f"source root '{self.root}' holds a data set that was not simulated; its tables would be overwritten. "
                "Set source.root to another folder, or source.kind to nuscenes"
            )

    def reader(self) -> NuScenesFiles:
        """Return the picklable reader of raw files; call ``prepare`` first."""
        return self._on_disk().reader()

    def _on_disk(self) -> NuScenesSource:
        version = synthetic.version_name(self.params)
        config = NuScenesConfig(kind="nuscenes", root=str(self.root), version=version, camera_sweeps=self.params.camera_sweeps)
        return NuScenesSource(config, self._cache)
