"""Which scenes of a source a recipe takes, which it has to leave out, and what is to be said of them.

Why    A source says what its scenes have, a recipe what it reads. Where they do not fit, a run would end hours later, or worse
       would make something else than was asked for without a word
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.capability import LIDAR, POSES, RADAR
from pipeline.finding import Finding, finding_lines, scenes_text
from pipeline.recipe import Recipe, wanted_files
from pipeline.sources import source_specs
from pipeline.splits import remark_on_rule, unknown_scene
from pipeline.stage_list import STAGES
from pipeline.stages import build_manifest, index_windows, project_radar
from pipeline.types import SceneInfo
from storage_schemas.catalog import RADAR_CHANNELS
from storage_schemas.errors import RecipeError, SourceError

LEFT_OUT_ADVICE = "Unpack the archives that hold them, or choose cameras and scenes that are there"
"""What helps where no scene is complete."""


@dataclass(frozen=True)
class ChosenScenes:
    """The scenes of a plan.

    Attributes:
        scenes: those that units are made of, in the source's order.
        findings: what the source found in them, as far as the recipe reads it.
        left_out: scene that cannot be used -> why; what is in brackets is of the one scene.
        notes: what else the user should know, a line each.
    """

    scenes: tuple[SceneInfo, ...] = ()
    findings: tuple[Finding, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return one line for each kind of reason why scenes are left out, and for each kind of finding."""
        num_scenes = len(self.scenes)
        alike: dict[str, list[str]] = {}
        for scene, reason in self.left_out.items():
            alike.setdefault(reason.partition(" (")[0], []).append(scene)
        left_out = [
            f"{len(names):,} of {num_scenes + len(self.left_out):,} scenes left out ({scenes_text(names, 0)}): "
            f"{self.left_out[names[0]]}"
            for names in alike.values()
        ]
        return [*left_out, *finding_lines(self.findings, num_scenes), *self.notes]


def choose_scenes(recipe: Recipe, of_source: Sequence[SceneInfo]) -> ChosenScenes:
    """Return the scenes that a recipe takes.

    Args:
        recipe: says which scenes, and what is read of them.
        of_source: all scenes of its source.

    Raises:
        RecipeError: a scene, camera, radar or LiDAR of the recipe does not exist.
        SourceError: no scene can be used, or results would be wrong.
    """
    _check_splits(recipe, of_source)
    chosen = _without_absent_lidars(recipe, _without_absent_cameras(recipe, _named_scenes(recipe, of_source)))
    scenes = [scene for scene in chosen if not scene.left_out]
    findings = _findings(recipe, scenes)
    _refuse_wrong(findings)
    if not scenes:
        raise SourceError(
            f"no scene of {len(chosen)} has the files that the recipe reads. {chosen[0].name}: {chosen[0].left_out}. "
            f"{LEFT_OUT_ADVICE}"
        )
    _refuse_absent_radars(recipe, scenes)
    _refuse_windows_without_poses(recipe, scenes)
    left_out = {scene.name: scene.left_out for scene in chosen if scene.left_out}
    return ChosenScenes(tuple(scenes), tuple(findings), left_out, _notes_on_splits(recipe, scenes))


def _named_scenes(recipe: Recipe, scenes: Sequence[SceneInfo]) -> list[SceneInfo]:
    by_name = {scene.name: scene for scene in scenes}
    if recipe.scenes is not None:
        if unknown := [name for name in recipe.scenes if name not in by_name]:
            raise RecipeError(
                f"scenes: '{unknown[0]}' is not in the source; it has {len(by_name)} scenes, e.g. {', '.join(list(by_name)[:5])}"
            )
        scenes = [scene for scene in scenes if scene.name in recipe.scenes]
    if not scenes:
        raise RecipeError("the source has no scenes; check source.root and source.version")
    return list(scenes)


def _without_absent_lidars(recipe: Recipe, scenes: Sequence[SceneInfo]) -> list[SceneInfo]:
    """Leave out scenes that have none of the LiDARs that a stage reads, where others have one.

    Raises:
        RecipeError: no scene has one of them, though there are other LiDARs.
    """
    kept = list(scenes)
    for stage in STAGES:
        wanted = stage.channels_of(recipe.stages.params_of(stage))
        if stage.needs != LIDAR or not wanted or not recipe.stages.wants(stage):
            continue
        lidars = {scene.name: [name for name in scene.channels if _modality(scene, name) == "lidar"] for scene in scenes}
        there = sorted({name for names in lidars.values() for name in names})
        if there and not set(there).intersection(wanted):
            raise RecipeError(
                f"stages.{stage.name}.lidar: no scene has files of {' or '.join(wanted)}; LiDARs there: {', '.join(there)}. "
                "Choose one of them, or a list"
            )
        lacking = {scene.name for scene in scenes if there and not set(lidars[scene.name]).intersection(wanted)}
        names = " or ".join(wanted)
        why = f"no file of {names}, which stages.{stage.name}.lidar names; a list of LiDARs takes those that there are"
        kept = [replace(scene, left_out=why) if scene.name in lacking and not scene.left_out else scene for scene in kept]
    return kept


def _without_absent_cameras(recipe: Recipe, scenes: Sequence[SceneInfo]) -> list[SceneInfo]:
    """Leave out scenes that lack a camera of the recipe, where others have it; RecipeError for a camera that no scene has."""
    cameras = {scene.name: [name for name in scene.channels if _modality(scene, name) == "camera"] for scene in scenes}
    kept = list(scenes)
    for camera in recipe.cameras:
        with_it = [scene.name for scene in scenes if camera in cameras[scene.name]]
        if not with_it:
            usual = next((scene for scene in scenes if cameras[scene.name]), scenes[0])
            there = ", ".join(cameras[usual.name]) or "none"
            raise RecipeError(
                f"cameras: '{camera}' does not exist in {usual.name}; cameras there: {there}{_why_not(usual, camera)}"
            )
        kept = [
            scene if scene.left_out or camera in cameras[scene.name] else replace(scene, left_out=f"no image of {camera}")
            for scene in kept
        ]
    return kept


def _why_not(scene: SceneInfo, camera: str) -> str:
    """Return what the tables say of a channel that is taken for a camera and is none there."""
    if camera in scene.channels and camera in scene.modalities:
        return f". By its modality in the tables, {camera} is a {scene.modalities[camera]}"
    return "".join(f". {finding.what}. {finding.advice}" for finding in scene.findings if f" {camera} " in finding.what)


def _modality(scene: SceneInfo, channel: str) -> str:
    """Return camera, lidar or radar; guessed from the name where the source does not say it."""
    guess = {"LIDA": "lidar", "RADA": "radar"}.get(channel[:4], "camera")
    return scene.modalities.get(channel, guess)


def _findings(recipe: Recipe, scenes: Sequence[SceneInfo]) -> list[Finding]:
    """Return what concerns a channel that the recipe reads or a scene as a whole, and what the recipe cannot make."""
    channels = {"", *recipe.cameras, *wanted_files(recipe).of_channel}
    findings = [finding for scene in scenes for finding in scene.findings if finding.channel in channels]
    usual = source_specs()[recipe.source.kind].offers
    for needed, sensor in ((LIDAR, "LiDAR"), (RADAR, "radar")):
        stages = [
            stage.name
            for stage in STAGES
            if stage.needs == needed and recipe.stages.wants(stage) and stage.channels_of(recipe.stages.params_of(stage)) != ()
        ]
        for scene in scenes:
            if needed in usual and needed not in scene.offers and stages:
                what = f"no {sensor} file, so {' and '.join(stages)} make{'s' if len(stages) == 1 else ''} nothing"
                findings.append(Finding(what, scene.name))
    return findings


def wrong_scenes(recipe: Recipe, scenes: Sequence[SceneInfo]) -> dict[str, str]:
    """Return the scenes that a recipe would be refused for, with what is wrong with each."""
    wrong = (finding for finding in _findings(recipe, scenes) if finding.is_error)
    return {finding.scene: finding.what for finding in wrong}


def _refuse_wrong(findings: Sequence[Finding]) -> None:
    """Refuse to make units of which the source knows that they would be wrong."""
    wrong = [finding for finding in findings if finding.is_error]
    if wrong:
        others = f" ({len(wrong) - 1:,} more like it)" if len(wrong) > 1 else ""
        raise SourceError(f"scene {wrong[0].scene}: {wrong[0].what}. {wrong[0].advice}{others}")


def _refuse_absent_radars(recipe: Recipe, scenes: Sequence[SceneInfo]) -> None:
    """Refuse radar channels that no scene has: a run without radar would look like one with it.

    Scenes without any radar are said by a finding, and a radar of nuScenes that a scene lacks where the scene is made.

    Raises:
        RecipeError: scenes have radars, and a channel is in none of them and no radar of nuScenes, or none of the channels is.
    """
    channels = recipe.stages.params_of(project_radar.STAGE).channels
    there = sorted({name for scene in scenes for name in scene.channels if _modality(scene, name) == "radar"})
    absent = [name for name in channels if name not in there]
    unknown = [name for name in absent if name not in RADAR_CHANNELS] or (absent if len(absent) == len(channels) else [])
    if there and unknown:
        raise RecipeError(
            f"stages.project_radar.channels: unknown radar channel '{unknown[0]}'; expected some of {', '.join(there)}. Set it "
            "to [] to make the data without radar"
        )


def _check_splits(recipe: Recipe, scenes: Sequence[SceneInfo]) -> None:
    """Refuse lists that name a scene which does not exist: it would be missing from its split in silence."""
    splits = recipe.stages.params_of(build_manifest.STAGE).splits
    where = "source.splits" if getattr(recipe.source, "splits", None) == splits else "stages.build_manifest.splits"
    if fault := unknown_scene(splits.lists, [scene.name for scene in scenes]):
        raise RecipeError(f"{where}: {fault}")


def _notes_on_splits(recipe: Recipe, scenes: Sequence[SceneInfo]) -> tuple[str, ...]:
    remark = remark_on_rule(recipe.stages.params_of(build_manifest.STAGE).splits, [scene.name for scene in scenes])
    return (remark,) if remark else ()


def _refuse_windows_without_poses(recipe: Recipe, scenes: Sequence[SceneInfo]) -> None:
    """Refuse clips of a source whose frames are no drives: none of their units could be made, or all would be empty."""
    specs = source_specs()
    if not recipe.stages.params_of(index_windows.STAGE).enabled or any(POSES in scene.offers for scene in scenes):
        return
    kinds = ", ".join(kind for kind, spec in specs.items() if POSES in spec.offers)
    raise RecipeError(
        f"stages.index_windows.enabled is true, but source.kind {recipe.source.kind} gives single frames without poses, of which "
        "no clips can be made. Set it to false and train on single frames, or take a source of drives "
        f"({kinds})"
    )
