"""A trained network from Python: predict, measure, compare; of whatever family it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage_schemas.errors import DepthmillError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from model.train.config import Machine
    from model.train.family import Family
    from model.train.family_types import Answer, Draw, OpenedNetwork
    from storage_schemas.manifest import Manifest


@dataclass(frozen=True)
class Model:
    """A network in memory, in evaluation mode.

    Attributes:
        family: its family, which says what it can do.
        opened: the network, the name of its checkpoint, and the configuration that it was trained with.
    """

    family: Family[Any]
    opened: OpenedNetwork[Any]

    @property
    def name(self) -> str:
        """Name of the checkpoint."""
        return self.opened.name

    def predict(
        self,
        image_u8: NDArray[np.uint8],
        *,
        radar_m: NDArray[np.float32] | None = None,
        mono_m: NDArray[np.float32] | None = None,
        projection: NDArray[np.float64] | None = None,
    ) -> Any:
        """Predict one image.

        Args:
            image_u8: (h, w, 3) RGB.
            radar_m: (h, w) metres along the optical axis, 0 = no return; for depth networks.
            mono_m: (h, w) monocular depth in metres, 0 = none; for depth networks with that branch.
            projection: (3, 4), from the camera frame to pixels; for detectors, which need it.

        Returns:
            A depth network: (h, w) float32 metres. A detector: its ``Objects``, surest first.

        Raises:
            InputError: an input that the family needs is missing, or does not fit the image.
            RecipeError: networks of this family predict nothing; says what to do instead.
        """
        from model.train.family_types import ImageInputs

        return self.family.predict_image(self.opened, ImageInputs(image_u8, radar_m, mono_m, projection))

    def predict_files(
        self,
        what: str | Path,
        out: str | Path,
        *,
        manifest: str | None = None,
        split: str = "val",
        pictures: bool = True,
        frames: Sequence[str] = (),
        device: str | None = None,
    ) -> int:
        """Predict a split of a recipe or store, or a folder of images, into files; return the number of frames.

        Args:
            what: recipe file, store, or folder of images as ``depthmill predict --help`` describes it.
            out: folder to write; must not exist or be empty.
            manifest: fingerprint of another manifest than the recipe's own or the store's newest.
            split: train, val or test.
            pictures: write pictures too.
            frames: of a detector: names of frames, keys or the source's own; pictures are written of these only. None = of all.
            device: auto, cpu or cuda; None = DEPTHMILL_DEVICE.

        Raises:
            RecipeError: networks of this family predict nothing.
            SourceError: an image or what belongs to it is missing or broken.
            ManifestError: there is no such manifest or split, or its frames lack a store.
            StoreError: ``out`` is not empty or cannot be written.
        """
        from flows.run.training import machine_of_settings
        from flows.settings import settings_of_machine

        if not self.family.predicts:
            self.family.refuse_to_predict(self.name)
        draw = self._draw(frames) if pictures else None
        if self.family.takes_folder(Path(what)):
            machine = machine_of_settings(settings_of_machine(device=device), image_root=None)
            return self.family.predict_folder(self.opened, Path(what), Path(out), draw=draw, machine=machine)
        pinned, machine = _pinned(str(what), manifest, device)
        return self.family.predict_split(self.opened, pinned, Path(out), split=split, draw=draw, machine=machine)

    def evaluate(
        self,
        data: str | Path,
        *,
        manifest: str | None = None,
        split: str = "val",
        target: str = "depth_single",
        out: str | Path | None = None,
        device: str | None = None,
        frames: Sequence[str] = (),
        worst: int | None = None,
        num_pictures: int | None = None,
    ) -> Answer:
        """Measure the network on a split and write the evaluation.

        Args:
            data: recipe file or store.
            manifest: fingerprint of another manifest than the recipe's own or the store's newest.
            split: train, val or test.
            target: store of the truth; for depth networks.
            out: folder of tables and pictures; None = ``evaluation-<name>-<manifest>-<split>`` here.
            device: auto, cpu or cuda; None = DEPTHMILL_DEVICE.
            frames: of a detector: names of frames whose pictures are wanted, keys or the source's own.
            worst: of a detector: how many pictures of the frames with the most errors; None = as its recipe said.
            num_pictures: of a detector: how many pictures of frames spread evenly; None = as its recipe said.

        Returns:
            ``data`` with the rows of the table, ``text`` for people.

        Raises:
            RecipeError: there is no such split, target or frame, or frames are chosen for a family that draws none.
            ManifestError: there is no such manifest, or its frames lack a store.
            StoreError: the folder holds files of these names that no evaluation wrote, or cannot be written.
        """
        from model.devices import network_device
        from model.train.repeatable import repeatable
        from model.train.result_files import check_evaluation_out

        draw = self._draw(frames, worst, num_pictures)
        pinned, machine = _pinned(str(data), manifest, device)
        folder = Path(out or f"evaluation-{self.name}-{pinned.path.fingerprint}-{split}")
        check_evaluation_out(folder)  # first, or a wrong folder would waste the whole measurement
        with repeatable(self.opened.config, network_device(machine.accelerator).type):
            return self.family.evaluate_checkpoint(
                self.opened,
                pinned,
                machine,
                split=split,
                target=target,
                folder=folder,
                draw=draw,
            )

    def _draw(self, frames: Sequence[str] = (), worst: int | None = None, num_pictures: int | None = None) -> Draw | None:
        """Return what draws frames of the family, and of which frames; RecipeError if the family does not take an option."""
        from flows.reports import frame_drawer
        from model.train.family_types import ChoosingDraw, PictureChoice

        for option, is_given in (("frames", bool(frames)), ("worst", worst is not None), ("pictures", num_pictures is not None)):
            if is_given and option not in self.family.options:
                raise RecipeError(
                    f"{option} chooses frames for pictures, and family {self.family.name} does not take it. Leave it out"
                )
        jpeg = frame_drawer(self.family.name)
        return None if jpeg is None else ChoosingDraw(jpeg, PictureChoice(tuple(frames), worst, num_pictures))


def load_model(
    checkpoint: str | Path,
    *,
    reference: bool = False,
    max_depth_m: float = 120.0,
    plug_in: bool = False,
    used_on: str | Path = "",
) -> Model:
    """Load a network of any family, on the CPU; ``evaluate`` and ``predict_files`` move it to where the settings say.

    Args:
        checkpoint: a training's folder (its best.pt is taken), a folder that ``depthmill share`` wrote, or a checkpoint file; a
            URL if its store is remote.
        reference: the file is a checkpoint of public code; its keys say of which.
        max_depth_m: with ``reference`` of a depth network: far end of its depth space.
        plug_in: with ``reference`` of a depth network: refuse a checkpoint without the branch for monocular depth. If false, its
            keys say whether it has it.
        used_on: with ``reference``: a recipe file, which says what the checkpoint does not, e.g. which rows it sees.

    Raises:
        WeightsFileError: the file holds no weights.
        CheckpointError: the weights do not fit the network.
        RecipeError: there is no such path. With ``reference``: the recipe has a mistake, or the file is of depthmill and says
            itself what it is.
    """
    from flows.run.opening import is_recipe
    from flows.run.training import refuse_without_torch
    from pipeline.recipe import load_recipe

    refuse_absent(checkpoint, noun="checkpoint", expected="the folder or URL of a training, or a checkpoint file")
    refuse_without_torch()
    from model.blocks.weights_file import load_state_file
    from model.families import FAMILIES, family_of, load_checkpoint, network_of
    from model.train.family_types import OpenedNetwork, ReferenceOptions

    folder, data = _local(checkpoint), str(used_on)
    path = _weights_of(folder) if folder.is_dir() else folder
    name = folder.name if folder.is_dir() else path.stem
    if not reference:
        stored = load_checkpoint(path)
        return Model(family_of(stored.config), OpenedNetwork(network_of(stored, path=path), name, stored.config))
    weights = load_state_file(path)
    if "format" in weights and "config" in weights:
        raise RecipeError(
            f"checkpoint '{path}' is of depthmill and says itself what it is; --reference is for those of the public code. "
            "Leave it out"
        )
    family = next((family for family in FAMILIES if family.is_reference(weights)), FAMILIES.default)
    train = load_recipe(data).train if is_recipe(data) else None
    return Model(family, family.open_reference(path, name, ReferenceOptions(train, data, max_depth_m, plug_in)))


def evaluate(
    checkpoint: str | Path,
    data: str | Path,
    *,
    manifest: str | None = None,
    split: str = "val",
    target: str = "depth_single",
    out: str | Path | None = None,
    device: str | None = None,
) -> Answer:
    """Load a network and measure it on a split, or measure the predictions of another program; see ``Model.evaluate``.

    Args:
        checkpoint: a training's folder or its URL, a checkpoint file, or a folder of predictions in a form that a family of
            models knows, such as KITTI result files.
        data: recipe file or store.
        manifest: fingerprint of another manifest than the recipe's own or the store's newest.
        split: train, val or test.
        target: store of the truth; for depth networks.
        out: folder of tables and pictures; None = ``evaluation-<name>-<manifest>-<split>`` here.
        device: auto, cpu or cuda; None = DEPTHMILL_DEVICE.

    Raises:
        DepthmillError: as ``load_model`` and ``Model.evaluate``, or predictions are broken or of other frames.
    """
    family = family_of_results(checkpoint)
    if family is None:
        return load_model(checkpoint).evaluate(data, manifest=manifest, split=split, target=target, out=out, device=device)
    from flows.run.opening import is_recipe
    from model.train.family_types import ResultsOptions
    from model.train.result_files import check_evaluation_out
    from pipeline.recipe import load_recipe

    results, where = _local(checkpoint), str(data)
    pinned, _ = _pinned(where, manifest)
    options = ResultsOptions(load_recipe(where).train if is_recipe(where) else None, where)
    folder = Path(out or f"evaluation-{results.absolute().name}-{pinned.path.fingerprint}-{split}")
    check_evaluation_out(folder)
    return family.evaluate_results(results, pinned, options, split=split, folder=folder)


def family_of_results(path: str | Path) -> Family[Any] | None:
    """Return the family that takes a path for predictions of any program; None if it is to be opened as a network."""
    from flows.run.training import refuse_without_torch

    refuse_absent(
        path, noun="checkpoint", expected="the folder or URL of a training, a checkpoint file, or a folder of result files"
    )
    refuse_without_torch()
    from model.families import FAMILIES

    place = _local(path)
    return next((family for family in FAMILIES if family.takes_results(place)), None)


def compare(a: str | Path, b: str | Path, *, metric: str = "mae_mm", cap_m: float = 80.0, radar: str = "on") -> Answer:
    """Compare two trainings, or two evaluations, on what both were measured on.

    Args:
        a: folder of a training or of an evaluation; a URL if the training's store is remote.
        b: another one.
        metric: of depth: name of the metric.
        cap_m: of depth: 50, 70 or 80 metres.
        radar: of depth: on or off.

    Returns:
        ``data`` with the differences, ``text`` for people.

    Raises:
        DepthmillError: they are of different families, have nothing in common, or a file is missing or damaged.
    """
    family = family_of_evaluations(a, b)
    from model.train.family_types import CompareOptions

    options = CompareOptions(metric, cap_m, radar, (str(a), str(b)))
    return family.compare(_evaluation_of(_local(a)), _evaluation_of(_local(b)), options)


def analyse(evaluation: str | Path, *, out: str | Path | None = None) -> Answer:
    """Say where a network is wrong, from an evaluation of it.

    Args:
        evaluation: folder of a training or of an evaluation; a URL if the training's store is remote.
        out: folder for tables and plots; None = ``analysis`` inside the evaluation, or here if that is remote.

    Returns:
        ``data`` with the tables, ``text`` for people.

    Raises:
        DepthmillError: it is no evaluation, its family has no analysis, or a file is missing or damaged.
    """
    family = family_of_evaluations(evaluation, evaluation)
    from flows.reports import analysis_plots
    from model.train.family_types import AnalyseOptions

    folder = _evaluation_of(_local(evaluation))
    if not (folder / family.evaluation_file).is_file():
        raise RecipeError(
            f"'{evaluation}' holds no evaluation. Give the folder of a training, or one that depthmill evaluate wrote; result "
            "files of another program are measured by depthmill evaluate first"
        )
    if out is None and "://" in str(evaluation):
        out = f"analysis-{_local(evaluation).name}"
    return family.analyse(folder, AnalyseOptions(None if out is None else Path(out), analysis_plots(family.name)))


def family_of_evaluations(a: str | Path, b: str | Path) -> Family[Any]:
    """Return the family that two folders hold evaluations of; a folder that holds none is taken for one of the other's.

    Raises:
        DepthmillError: they are of different families.
    """
    from flows.run.training import refuse_without_torch

    for folder in (a, b):
        refuse_absent(folder, noun="evaluation", expected="the folder or URL of a training, or one that depthmill evaluate wrote")
    refuse_without_torch()
    from model.families import FAMILIES

    of_a, of_b = (
        next((family for family in FAMILIES if (_evaluation_of(folder) / family.evaluation_file).is_file()), None)
        for folder in (_local(a), _local(b))
    )
    if of_a is not None and of_b is not None and of_a is not of_b:
        raise DepthmillError(
            f"'{a}' is an evaluation of {of_a.evaluation_of} and '{b}' one of {of_b.evaluation_of}, which have no measure in "
            "common. Compare two of one kind"
        )
    return of_a or of_b or FAMILIES.default


def refuse_absent(place: str | Path, *, noun: str, expected: str) -> None:
    """Check that a path of this machine exists before torch is loaded, which takes seconds.

    Raises:
        RecipeError: it does not exist; says what was expected.
    """
    if "://" not in str(place) and not Path(place).exists():
        raise RecipeError(f"{noun} '{place}' does not exist. Give {expected}")


def refuse_wrong_data(data: str | Path) -> None:
    """Check a recipe file or the path of a store before torch is loaded; the recipe's source is not looked at.

    Raises:
        RecipeError: the recipe has a mistake, or there is no such recipe or store.
    """
    from flows.run.opening import is_recipe
    from pipeline.recipe import load_recipe

    if is_recipe(str(data)):
        load_recipe(data)
    else:
        refuse_absent(data, noun="store or folder", expected="the path or URL of a store, or a recipe file")


def _local(place: str | Path) -> Path:
    """Return a path of this machine for a path, or for the URL of a training in a remote store, which is fetched."""
    if "://" not in str(place):
        return Path(place)
    from flows.run.runs import local_path
    from flows.settings import settings_of_machine

    return local_path(place, settings_of_machine().cache_dir)


def _weights_of(folder: Path) -> Path:
    """Return the file of weights in the folder of a training, or of a shared network."""
    shared = folder / "model.safetensors"
    return shared if shared.is_file() and not (folder / "best.pt").is_file() else folder / "best.pt"


def _evaluation_of(folder: Path) -> Path:
    """Return the folder of the evaluation of a training, or the folder itself if it is one."""
    return folder / "evaluation" if (folder / "evaluation").is_dir() else folder


def _pinned(data: str, manifest: str | None, device: str | None = None) -> tuple[Manifest, Machine]:
    """Open a manifest of a recipe or store, and say where networks run."""
    from flows.run.opening import is_recipe, open_manifest_of, open_with_settings
    from flows.run.training import machine_of, machine_of_settings
    from flows.settings import settings_of_machine

    if is_recipe(data):
        opened = open_with_settings(Path(data), None, device=device)
        return open_manifest_of(opened, manifest), machine_of(opened)
    return open_manifest_of(data, manifest), machine_of_settings(settings_of_machine(device=device), image_root=None)
