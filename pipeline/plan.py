"""What has to be done and why. A dry run prints the same list that a run executes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pipeline.capability import is_provided
from pipeline.chosen_scenes import ChosenScenes, choose_scenes
from pipeline.finding import NAMED_SCENES
from pipeline.recipe import Recipe
from pipeline.sources import source_plug_ins
from pipeline.sources.spec import Source
from pipeline.stage import StageSpec
from pipeline.stage_list import STAGES
from pipeline.types import ALL, SceneInfo, WorkItem
from storage_schemas.errors import RecipeError, StoreError
from storage_schemas.lineage import Identity, LineageRecord, SourceRef
from storage_schemas.many_requests import MOST_AT_ONCE, all_at_once
from storage_schemas.store import Store, UnitPath
from storage_schemas.unit_listing import UnitListing, committed_units, read_committed


@dataclass(frozen=True)
class Plan:
    """Every unit that a recipe asks for, in running order; those with a reason are to be made.

    Attributes:
        items: the units.
        chosen: the scenes that they are made of, and what is to be said of them.
    """

    items: tuple[WorkItem, ...]
    chosen: ChosenScenes = field(default_factory=ChosenScenes)

    def __repr__(self) -> str:
        """Return the counts; the units are in ``items``."""
        return f"<plan: {len(self.to_do)} of {len(self.items)} units to do>"

    @property
    def to_do(self) -> tuple[WorkItem, ...]:
        """Items whose unit is not in the store."""
        return tuple(item for item in self.items if item.reason is not None)

    @property
    def manifest(self) -> WorkItem:
        """The item of the manifest."""
        return self.items[-1]

    def warnings(self) -> list[str]:
        """Return one line for each reason why scenes are left out, and for each kind of finding."""
        return self.chosen.lines()

    def lines(self) -> list[PlanLine]:
        """Return one line per stage and reason, as ``depthmill plan`` prints them."""
        lines = []
        for stage in STAGES:
            of_stage = [item for item in self.items if item.stage == stage.name]
            if not of_stage:
                continue
            reasons: dict[str, list[str]] = {}
            for item in of_stage:
                if item.reason is not None:
                    reasons.setdefault(item.reason, []).append(item.identity.scene)
            num_up_to_date = sum(item.reason is None for item in of_stage)
            if not reasons:
                lines.append(PlanLine(stage.name, num_up_to_date, 0, "", ()))
            for number, (reason, scenes) in enumerate(reasons.items()):
                lines.append(
                    PlanLine(stage.name, num_up_to_date if number == 0 else 0, len(scenes), reason, tuple(dict.fromkeys(scenes)))
                )
        return lines


@dataclass(frozen=True)
class PlanLine:
    """One line of a printed plan."""

    stage: str
    num_up_to_date: int
    num_to_do: int
    reason: str
    scenes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The reason, with the scenes where there are few."""
        if not self.reason or self.scenes in ((), (ALL,)):
            return self.reason
        more = f" and {len(self.scenes) - NAMED_SCENES} more" if len(self.scenes) > NAMED_SCENES else ""
        return f"{self.reason} ({', '.join(self.scenes[:NAMED_SCENES])}{more})"


def make_plan(recipe: Recipe, source: Source, store: Store, *, facts: Mapping[str, str] | None = None) -> Plan:
    """Compare what a recipe asks for with what a store holds; nothing is written.

    Args:
        recipe: what is asked for.
        source: the raw data.
        store: the units that exist already.
        facts: what stages need to know beside their params, e.g. the digest of a teacher's weights; see ``StageSpec.counted``.

    Raises:
        RecipeError: a scene or camera of the recipe does not exist.
        SourceError: the source's tables cannot be read.
    """
    chosen = choose_scenes(recipe, source.scenes())
    items: list[_Wanted] = []
    plug_in, _ = source_plug_ins().get(recipe.source.kind, (None, None))
    package = "" if plug_in is None else plug_in.package
    for scene in chosen.scenes:
        made_from = SourceRef(release=source.release, digest=scene.digest, package=package)
        items.extend(_scene_items(recipe, scene, made_from, facts or {}))
    for stage in STAGES:
        if stage.per == "dataset":
            inputs = {item.path.key.rsplit("/", 1)[0]: item.path for item in items}
            items.append(_item(stage, recipe, ALL, ALL, inputs, None, facts or {}))
    return Plan(tuple(_compared(items, store)), chosen)


class _Wanted(NamedTuple):
    """A unit that a recipe asks for, before it is known whether the store has it."""

    path: UnitPath
    identity: Identity
    inputs: Mapping[str, UnitPath]


def _compared(wanted: Sequence[_Wanted], store: Store) -> Iterator[WorkItem]:
    """Yield the units with the reason why each must be made; the store is asked for all at once."""
    committed, listing = committed_units(store, [unit.path for unit in wanted])
    reasons = _reasons([unit for unit in wanted if unit.path not in committed], store, listing)
    for unit in wanted:
        yield WorkItem(unit.identity.stage, unit.identity, dict(unit.inputs), reasons.get(unit.path))


def _scene_items(recipe: Recipe, scene: SceneInfo, source: SourceRef, facts: Mapping[str, str]) -> Iterator[_Wanted]:
    of_scene: dict[str, _Wanted] = {}
    for camera in (ALL, *recipe.cameras):
        level, made = ("scene", of_scene) if camera == ALL else ("camera", dict(of_scene))
        for stage in STAGES:
            if stage.per != level or not (_applies(stage, recipe, scene) and _is_fed(stage, made)):
                continue
            reads = stage.chosen_reads(recipe.stages.params_of(stage))
            inputs = {layout.name: made[layout.name].path for layout in reads if layout.name in made}
            made_from = _source_of(stage, scene, source)
            yield _add(_item(stage, recipe, scene.name, camera, inputs, made_from, facts), made)


def _add(item: _Wanted, made: dict[str, _Wanted]) -> _Wanted:
    """Note which item makes a layout, so that later stages read its unit; RecipeError if two items make the same layout."""
    other = made.setdefault(item.identity.layout, item)
    if other is not item:
        raise RecipeError(
            f"stages {other.identity.stage} and {item.identity.stage} both make {item.identity.layout} of {item.identity.scene}; "
            "leave one of them out of the recipe, or switch it off"
        )
    return item


def _source_of(stage: StageSpec[Any], scene: SceneInfo, source: SourceRef) -> SourceRef | None:
    """Return what a stage takes from the source itself. A capability with its own digest changes no other stage."""
    digest = scene.offers.get(stage.needs or "", "")
    if stage.reads and not (digest and is_provided(stage.needs)):
        return None
    return source.model_copy(update={"digest": digest}) if digest else source


def _applies(stage: StageSpec[Any], recipe: Recipe, scene: SceneInfo) -> bool:
    """Say whether a recipe wants a stage and a scene has what it needs; without radar it gets no unit instead of an empty one."""
    params = recipe.stages.params_of(stage)
    if not recipe.stages.wants(stage):
        return False
    if stage.needs is not None and stage.needs not in scene.offers:
        return False
    channels = stage.channels_of(params)
    if channels is not None and not any(channel in scene.channels for channel in channels):
        return False
    makers = [other for other in STAGES if other.writes == stage.writes and not is_provided(other.needs)]
    return not (is_provided(stage.needs) and any(_applies(other, recipe, scene) for other in makers))


def _is_fed(stage: StageSpec[Any], made: Mapping[str, _Wanted]) -> bool:
    """Say whether everything that a stage cannot do without is made for this scene and camera."""
    return all(layout.name in made for layout in stage.reads if layout not in stage.optional)


def _item(
    stage: StageSpec[Any],
    recipe: Recipe,
    scene: str,
    camera: str,
    inputs: Mapping[str, UnitPath],
    source: SourceRef | None,
    facts: Mapping[str, str],
) -> _Wanted:
    identity = Identity(
        stage=stage.name,
        stage_version=stage.version,
        layout=stage.writes.name,
        layout_version=stage.writes.version,
        scene=scene,
        camera=camera,
        params=stage.identity_params(recipe.stages.params_of(stage), facts),
        inputs={name: path.fingerprint for name, path in inputs.items()},
        source=source,
    )
    return _Wanted(UnitPath.of(identity), identity, inputs)


def _reasons(missing: Sequence[_Wanted], store: Store, listing: UnitListing | None) -> dict[UnitPath, str]:
    """Return why each unit is missing: what differs from the units that its scene and camera have had so far."""
    former = _beside(missing, store) if listing is None else _listed_beside(missing, listing)
    records = read_committed(store, dict.fromkeys(path for paths in former.values() for path in paths))
    return {unit.path: _reason(unit.identity, former[unit.path], records) for unit in missing}


def _beside(missing: Sequence[_Wanted], store: Store) -> dict[UnitPath, list[UnitPath]]:
    """Return the units, committed or not, of the scene and camera of each of some units."""

    def names(unit: _Wanted) -> list[str]:
        return store.files.names(unit.path.key.rpartition("/")[0])

    found = all_at_once(names, missing, most=1 if store.files.is_local else MOST_AT_ONCE)
    return {unit.path: [replace(unit.path, fingerprint=name) for name in of] for unit, of in zip(missing, found, strict=True)}


def _listed_beside(missing: Sequence[_Wanted], listing: UnitListing) -> dict[UnitPath, list[UnitPath]]:
    there: dict[tuple[str, str, str], list[UnitPath]] = {}
    for path in sorted(listing.newest):
        there.setdefault((path.layout, path.scene, path.camera), []).append(path)
    return {unit.path: there.get((unit.path.layout, unit.path.scene, unit.path.camera), []) for unit in missing}


def _reason(wanted: Identity, former: Sequence[UnitPath], records: Mapping[UnitPath, LineageRecord | StoreError]) -> str:
    """Return why a unit is missing: its differences from the most similar unit of its scene and camera, the newest of equals."""
    found = [records[path] for path in former if path in records]
    if not found:
        return "unfinished: a former run was interrupted" if former else "new"
    if (fault := next((record for record in found if isinstance(record, StoreError)), None)) is not None:
        return f"the former unit cannot be read: {fault}"
    whole = sorted((record for record in found if isinstance(record, LineageRecord)), key=lambda r: r.written_utc, reverse=True)
    likest = min((record.identity for record in whole), key=lambda identity: _num_differences(identity, wanted))
    return "; ".join(differences(likest, wanted)) or "fingerprint changed"


def differences(old: Identity, new: Identity) -> list[str]:
    """Return what differs between two identities, one phrase each."""
    phrases = []
    for name in ("stage_version", "layout_version"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            phrases.append(f"{name.replace('_', ' ')} {before} -> {after}")
    later = next((getattr(stage.params, "added_later", {}) for stage in STAGES if stage.name == new.stage), {})
    for key in sorted({*old.params, *new.params}):
        before, after = (of.params.get(key, later.get(key)) for of in (old, new))  # a key added later is left out at its default
        phrases += [f"params {change}" for change in _changes(key, before, after)]
    if old.source != new.source:
        phrases.append("source changed")
    phrases.extend(_input_differences(old.inputs, new.inputs))
    return phrases


def _changes(key: str, before: Any, after: Any) -> list[str]:
    """Return what differs in a param: of a group the keys within it, and of one that is switched on or off only that."""
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        return [line for k in sorted({*before, *after}) for line in _changes(f"{key}.{k}", before.get(k), after.get(k))]
    if {type(before), type(after)} == {dict, type(None)}:
        return [f"{key}: off -> on" if before is None else f"{key}: on -> off"]
    return [f"{key}: {before} -> {after}"]


def _num_differences(old: Identity, new: Identity) -> int:
    """Count everything that differs, each input by itself."""
    fields = ("stage_version", "layout_version", "source")
    pairs = [(getattr(old, name), getattr(new, name)) for name in fields]
    for before, after in ((old.params, new.params), (old.inputs, new.inputs)):
        pairs += [(before.get(key), after.get(key)) for key in {*before, *after}]
    return sum(old_value != new_value for old_value, new_value in pairs)


def _input_differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    changed: Counter[str] = Counter(key.split("/")[0] for key in new if key in old and old[key] != new[key])
    parts = [f"input {layout} changed" + (f" ({count} units)" if count > 1 else "") for layout, count in sorted(changed.items())]
    for word, keys in (("added", new.keys() - old.keys()), ("removed", old.keys() - new.keys())):
        scenes = sorted({key.split("/")[1] if "/" in key else key for key in keys})
        if scenes:
            more = f" and {len(scenes) - NAMED_SCENES} more" if len(scenes) > NAMED_SCENES else ""
            parts.append(f"{', '.join(scenes[:NAMED_SCENES])}{more} {word}")
    return parts
