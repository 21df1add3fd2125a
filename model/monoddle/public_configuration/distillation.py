"""The keys of a public file that decide whether, and how, a teacher's depth is learned; they decide it together.

Source docs/method/monoddle.md#public-configuration
"""

from __future__ import annotations

from typing import Final

from model.monoddle.public_configuration.account import PublicFile, shown

FORMS = ("l1", "silog")
_MAPS: Final = "stages.predict_mono_depth.maps: <root>/DA3_depth_results, train.data.mono: true"
_MAPS_WHY = (
    "a missing map stops the run, and 80 m or more teaches nothing; the public code trains on without a word in both cases"
)


def translate_distillation(file: PublicFile) -> None:
    """Set ``distill``, ``data.mono`` and ``network.uncertainty``, and tell of all six keys.

    The public code distils where the data set delivers maps and lambda is above 0; without the group ``distill`` lambda is 0. It
    takes the Gaussian form where it is asked for and the network has the head, else ``loss_type``.
    """
    has_maps = file.value("dataset.use_da3_depth", "flag", False)
    weight = file.value("distill.lambda", "number", 0.0)
    has_head = file.value("model.use_distill_uncertainty", "flag", False)
    wants_head = file.value("distill.use_uncertainty", "flag", False)
    loss = file.value("distill.loss_type", "text", "l1")
    if loss not in FORMS:
        raise file.error("distill.loss_type", " or ".join(FORMS))
    is_on, is_gauss = has_maps and weight > 0, has_head and wants_head
    if is_on:
        _tell_what_is_on(file, "gauss" if is_gauss else loss, weight, has_head=has_head, wants_head=wants_head)
    else:
        _tell_what_is_off(file, "lambda is 0, or not in the file" if has_maps else "no maps are asked for", has_maps=has_maps)


def _tell_what_is_on(file: PublicFile, form: str, weight: float, *, has_head: bool, wants_head: bool) -> None:
    file.made.uses_maps = True
    file.train("data.mono", True, "dataset.use_da3_depth")
    file.train("distill.form", form, "distill.use_uncertainty" if form == "gauss" else "distill.loss_type")
    file.tell("dataset.use_da3_depth", "taken", _MAPS, _MAPS_WHY)
    file.give("distill.lambda", {"distill.weight": weight})
    foreground = file.value("distill.foreground_weight", "number", 5.0, least=1)
    file.give("distill.foreground_weight", {"distill.foreground": foreground}, "form silog weighs all alike" * (form == "silog"))
    is_gauss = form == "gauss"
    head = "" if is_gauss else "no loss of this file reads the head" if has_head else ""
    file.give("model.use_distill_uncertainty", {"network.uncertainty": is_gauss}, head)
    why = "the form of the released code; the formula of its README is form laplace" if is_gauss else ""
    if wants_head and not has_head:
        why = "without model.use_distill_uncertainty there is no head, so the code takes distill.loss_type"
    file.tell("distill.use_uncertainty", "taken", f"train.distill.form: {form}", why)
    if is_gauss:
        file.tell("distill.loss_type", "not read", "", "distill.use_uncertainty decides the form")
    file.tell("distill.loss_type", "taken", f"train.distill.form: {form}")


def _tell_what_is_off(file: PublicFile, reason: str, *, has_maps: bool) -> None:
    file.train("distill.form", "none", f"no distillation: {reason}")
    why = f"nothing is distilled: {reason}"
    off = f"{why}. So nothing would read the maps" if has_maps else ""
    file.tell("dataset.use_da3_depth", "taken", "train.data.mono: false", off)
    file.tell("distill.lambda", "taken", "train.distill.form: none", why)
    has_head = file.value("model.use_distill_uncertainty", "flag", False)
    here = f"train.network.uncertainty: {shown(False)}"
    file.tell("model.use_distill_uncertainty", "taken", here, f"{why}, and no other loss reads the head" if has_head else "")
    for key in ("distill.use_uncertainty", "distill.loss_type", "distill.foreground_weight"):
        file.tell(key, "not read", "", why)
