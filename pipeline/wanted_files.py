"""Which raw files a recipe reads, by sensor channel: what must be on the disk before a scene can be made.

Why    Data sets come in archives of 30 GB. A source can say at once which scenes are whole; a run would find out hours later
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Wanted = Literal["keyframes", "all"]
"""Of a channel, the files of key frames only, or those between them too."""


@dataclass(frozen=True)
class WantedFiles:
    """What a recipe reads.

    Attributes:
        of_channel: sensor channel -> which of its files.
    """

    of_channel: Mapping[str, Wanted] = field(default_factory=dict)

    @staticmethod
    def of(requests: Iterable[Mapping[str, Wanted]]) -> WantedFiles:
        """Join what several stages read."""
        of_channel: dict[str, Wanted] = {}
        for request in requests:
            for channel, wanted in request.items():
                of_channel[channel] = "all" if "all" in (wanted, of_channel.get(channel)) else wanted
        return WantedFiles(of_channel)
