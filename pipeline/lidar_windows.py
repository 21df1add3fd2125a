"""Which LiDAR sweeps a key frame's depth is made of: those of the chosen LiDARs in a window around its own sweep.

Source docs/method/pipeline.md#sweep-window
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.lidar_choice import lidar_channels
from storage_schemas.errors import SourceError


@dataclass(frozen=True)
class LidarSweeps:
    """The sweeps of the LiDARs that a recipe chooses, of those that a scene has.

    Attributes:
        sweeps: rows of ``frames.sweeps``, one LiDAR after the other, each in time order.
        spans: range of each LiDAR within ``sweeps``, by channel.
        lacking: chosen channels that the scene has not.
    """

    sweeps: list[dict[str, Any]]
    spans: dict[str, range]
    lacking: tuple[str, ...]

    def windows(self, keyframes: Sequence[dict[str, Any]], num_sweeps: int, *, scene: str) -> list[list[range]]:
        """Return for each key frame the numbers of the sweeps in its window, a range for each LiDAR.

        Raises:
            SourceError: a key frame has no sweep of any of the LiDARs.
        """
        windows = []
        for keyframe in keyframes:
            ranges = [self._window(span, keyframe, num_sweeps) for span in self.spans.values()]
            if not any(ranges):
                raise _no_key_sweep(keyframe, scene=scene)
            windows.append([one for one in ranges if one])
        return windows

    def _window(self, span: range, keyframe: dict[str, Any], num_sweeps: int) -> range:
        chain = self.sweeps[span.start : span.stop]
        key = _find_key_sweep(chain, keyframe)
        window = range(0) if key is None else window_around(chain, key, num_sweeps)
        return range(span.start + window.start, span.start + window.stop)

    def remarks(self, windows: Sequence[Sequence[range]]) -> tuple[dict[str, float], str]:
        """Return counts and words for what is missing of several LiDARs; nothing where all is there."""
        lacking = dict.fromkeys(self.lacking, 0)
        for name, span in self.spans.items():
            without = sum(not any(one.start in span for one in window) for window in windows)
            if without:
                lacking[name] = without
        if not lacking:
            return {}, ""
        words = [f"{name} is not in this scene" if not count else f"{count} without {name}" for name, count in lacking.items()]
        return {f"frames_without_{name}": float(count or len(windows)) for name, count in lacking.items()}, "; " + ", ".join(
            words
        )


def chosen_sweeps(
    sweeps: Sequence[dict[str, Any]],
    lidar: str | tuple[str, ...],
    *,
    scene: str,
    stage: str = "accumulate_lidar",
    only_keyframes: bool = False,
) -> LidarSweeps:
    """Return the sweeps of the chosen LiDARs.

    Args:
        sweeps: rows of ``frames.sweeps``, by channel in time order.
        lidar: channel or channels.
        scene: name of the scene, for errors.
        stage: whose choice it is, for errors.
        only_keyframes: leave out the sweeps between key frames.

    Raises:
        SourceError: the scene has none of the LiDARs.
    """
    chosen: list[dict[str, Any]] = []
    spans: dict[str, range] = {}
    for channel in lidar_channels(lidar):
        chain = [sweep for sweep in sweeps if sweep["channel"] == channel and (sweep["is_keyframe"] or not only_keyframes)]
        if chain:
            spans[channel] = range(len(chosen), len(chosen) + len(chain))
            chosen += chain
    if not spans:
        raise no_lidar(sweeps, lidar, scene=scene, stage=stage)
    return LidarSweeps(chosen, spans, tuple(name for name in lidar_channels(lidar) if name not in spans))


def no_lidar(sweeps: Sequence[dict[str, Any]], lidar: str | tuple[str, ...], *, scene: str, stage: str) -> SourceError:
    """Return the error for a scene that has none of the LiDARs that a stage chooses."""
    names = lidar_channels(lidar)
    wanted = f"LiDAR channel '{names[0]}'" if len(names) == 1 else f"any of the LiDAR channels {', '.join(names)}"
    there = ", ".join(lidars_of(sweep["channel"] for sweep in sweeps)) or "none"
    return SourceError(
        f"scene {scene} has no files of {wanted}; LiDAR channels there: {there}. Set stages.{stage}.lidar in the recipe "
        "to one of them or to a list, or leave the scene out with scenes: in the recipe"
    )


def lidars_of(channels: Iterable[str]) -> list[str]:
    """Return the LiDARs among channels that are no cameras, sorted: those that are not named as radars."""
    return sorted({channel for channel in channels if "radar" not in channel.casefold()})


def _find_key_sweep(chain: Sequence[dict[str, Any]], keyframe: dict[str, Any]) -> int | None:
    """Return the number of a key frame's own sweep within the sweeps of one LiDAR."""
    wanted = keyframe["sample_index"]
    return next((n for n, sweep in enumerate(chain) if sweep["is_keyframe"] and sweep["sample_index"] == wanted), None)


def _no_key_sweep(keyframe: dict[str, Any], *, scene: str) -> SourceError:
    return SourceError(
        f"scene {scene}: key frame '{keyframe['sample_token']}' has no key LiDAR sweep in sample_data.json. "
        "Unpack the metadata archive again"
    )


def window_around(chain: Sequence[dict[str, Any]], key: int, num_sweeps: int) -> range:
    """Return the numbers of the sweeps in a window: (n-1)//2 before the key sweep and n//2 after it, cut where the chain ends."""
    first, last = key - (num_sweeps - 1) // 2, key + num_sweeps // 2
    same = [number for number in range(max(0, first), min(len(chain), last + 1)) if chain[number]["chain"] == chain[key]["chain"]]
    return range(same[0], same[-1] + 1)
