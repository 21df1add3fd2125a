"""Frames whose teacher has something to teach, known before a training starts.

Why    Alignment writes a map of zeros for a frame without a fit; distilled from, that frame would silently teach nothing
Reads  depth_mono.num_measured
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from model.data.samples import LOOKUPS, Choice, Sample
from storage_schemas.errors import ManifestError
from storage_schemas.manifest import Manifest


def frames_with_teacher(manifest: Manifest, config: Choice, samples: Sequence[Sample]) -> list[Sample]:
    """Return the frames whose teacher's map is not empty, in the order given.

    Args:
        manifest: an opened manifest.
        config: ``incomplete`` says what is done with frames whose map is empty.
        samples: frames that have a unit of depth_mono, which is there.

    Raises:
        ManifestError: a map is empty and ``incomplete`` is ``error``, or all of them are.
        StoreError: a unit is damaged.
    """
    units = list(dict.fromkeys(sample.units["depth_mono"] for sample in samples))
    with ThreadPoolExecutor(LOOKUPS) as pool:
        counts = pool.map(lambda path: manifest.store.open_unit(path).array("num_measured"), units)
        num_measured = dict(zip(units, counts, strict=True))
    taught = [sample for sample in samples if num_measured[sample.units["depth_mono"]][sample.frame] > 0]
    if len(taught) < len(samples) and (config.incomplete == "error" or not taught):
        known = set(map(id, taught))
        first = next(sample for sample in samples if id(sample) not in known)
        leave_out = "set train.data.incomplete: leave_out to train without them, " if taught else ""
        raise ManifestError(
            f"frame '{first.frame_key}' has an empty teacher's map (depth_mono) in manifest {manifest.path.fingerprint} "
            f"({len(samples) - len(taught)} of {len(samples)} frames of split '{config.split}'), so distillation has nothing to "
            "learn from there: its alignment found no fit, or the teacher saw nothing but sky. Change stages.align_mono_depth or "
            f"the teacher, {leave_out}or switch distillation off"
        )
    return taught
