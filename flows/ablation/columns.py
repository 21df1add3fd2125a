"""Which numbers the table of an ablation shows: those that a recipe names, or those of the family's published tables."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from storage_schemas.errors import RecipeError

if TYPE_CHECKING:
    from model.train.config import CommonConfig
    from model.train.measures import Measure


class Columns(NamedTuple):
    """What a table shows.

    Attributes:
        headline: of the table on the console and on top of the file.
        details: of further tables of the file, by their titles.
    """

    headline: tuple[Measure, ...]
    details: Mapping[str, tuple[Measure, ...]]

    @property
    def all(self) -> tuple[Measure, ...]:
        """Return every measure once."""
        return tuple(dict.fromkeys((*self.headline, *(measure for group in self.details.values() for measure in group))))


def columns_of(configs: Sequence[CommonConfig], chosen: Sequence[str] | None, *, where: str) -> Columns:
    """Return what the table of trainings of one family shows.

    Args:
        configs: one of each variant.
        chosen: names; None = those of published tables.
        where: name of the recipe file, for errors.

    Raises:
        RecipeError: not every variant is measured by one of the names.
    """
    from model.families import family_of

    family = family_of(configs[0])
    by_variant = [family.measures(config) for config in configs]
    names, details = (tuple(chosen), {}) if chosen else family.table_columns(configs[0], by_variant)
    for name in (*names, *(name_in_group for group in details.values() for name_in_group in group)):
        if not all(name in measures for measures in by_variant):
            common = [other for other in by_variant[0] if all(other in measures for measures in by_variant)]
            near = difflib.get_close_matches(name, common, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"expected e.g. {', '.join(common[:3])}"
            subject = "ablation.metrics has" if chosen else "without ablation.metrics the table shows"
            raise RecipeError(f"recipe '{where}': {subject} '{name}', by which not every variant is measured; {hint}")
    return Columns(
        tuple(by_variant[0][name] for name in names),
        {title: tuple(by_variant[0][name] for name in group) for title, group in details.items()},
    )
