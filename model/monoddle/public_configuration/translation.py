"""What a YAML file of MonoDLE or MonoDDLE trains, as the keys of our training, with an account of every key of the file.

Why    The recipe must train what the public *code* trains. Some keys of a file mean something else to the code than they say, and
       some mean nothing to it. Each of these cases is decided here, and is said to whoever translates a file
Source docs/method/monoddle.md#public-configuration; read for facts: the code of github.com/Puiching-Memory/MonoDDLE and
       github.com/xinzhuma/monodle
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from model.monoddle.network_config import OWN_BACKBONES, TIMM_PREFIX
from model.monoddle.public_configuration.account import PublicFile, PublicTraining, is_whole, shown
from model.monoddle.public_configuration.distillation import translate_distillation
from model.monoddle.public_configuration.keys import BLOCKS, MAPPED, NO_RECIPE_KEY, OTHER_VERSIONS, Fate
from model.monoddle.targets import REGION
from storage_schemas.errors import RecipeError

CLASSES = ("Pedestrian", "Car", "Cyclist")
"""Heat maps of the public code, in its order; no key of a file changes them."""

MERGED = ("Van", "Truck")
"""Types that draw into the heat map of Car and are not learned: with class_merging, or where writelist names them."""

BOXES_2D = {"anno": "annotated", "proj": "projected"}
"""bbox2d_type -> ``targets.box_2d``."""

OPTIMIZERS = ("adam", "adamw", "sgd")

SGD_MOMENTUM = 0.9
"""A constant of the public code."""

WARM_UP_EPOCHS, WARM_UP_FROM = 5, 1e-5
"""Constants of the public scheduler."""

STRIDES = [4, 8, 16, 32]
"""Of the levels that the neck takes."""

TIMM_OF_PUBLIC = "timm_"
"""How the public code begins the name of a network of the package timm."""


def translate_public_config(data: Any, *, where: str) -> PublicTraining:
    """Translate the content of a public file.

    Args:
        data: of the file, as a safe loader reads it.
        where: the file, for error texts.

    Raises:
        RecipeError: it is no such file, lacks a key without which the public code stops, or a value is of the wrong kind.
    """
    if not isinstance(data, Mapping) or not {"dataset", "model"} <= data.keys():
        raise RecipeError(
            f"'{where}' is no configuration of MonoDLE or MonoDDLE: expected the groups {', '.join(BLOCKS)}. Give a .yaml "
            "file of their experiments/"
        )
    file = PublicFile(data, where)
    _set_what_no_key_says(file)
    _translate_dataset(file)
    _translate_model(file)
    _translate_training(file)
    translate_distillation(file)
    for key in MAPPED:
        file.give_same(key)
    for key, value in list(file.left.items()):
        file.tell(key, *_fate_of_rest(key, value))
    return file.result()


def _set_what_no_key_says(file: PublicFile) -> None:
    """Set what the public code does without being asked and our defaults do not."""
    file.train("network.classes", list(CLASSES), "no key there: heat maps of the public code, in its order")
    file.train("network.prior_depth_m", None, "no key there: the untrained network says 1 m everywhere")
    file.train("precision", "float32", "no key there: float32, on a GPU too")
    file.train("schedule", "compat", "no key there: the warm-up delays the falls")
    file.train("keep", "last", "no key there: the last checkpoint is the result")
    file.train("evaluation.split", "val", "no key there: val.txt")


def _translate_dataset(file: PublicFile) -> None:
    if file.value("dataset.type", "text") != "KITTI":
        raise file.error("dataset.type", "KITTI")
    file.tell("dataset.type", "taken", "source.kind: kitti_object")
    if "dataset.root_dir" in file.values:
        file.made.root = file.value("dataset.root_dir", "text")
    file.tell("dataset.root_dir", "taken", "source.root", "as an absolute path")
    _translate_classes(file)
    _translate_targets(file)


def _translate_classes(file: PublicFile) -> None:
    known = (*CLASSES, *MERGED, REGION)
    file.refuse_group("dataset.writelist", f"a list of {', '.join(known)}")
    names = file.values.get("dataset.writelist", ["Car"])
    if not isinstance(names, list) or not names or any(name not in known for name in names):
        raise file.error("dataset.writelist", f"a list of {', '.join(known)}; the public code stops at other types")
    wanted = [name for name in CLASSES if name in names]
    if not wanted:
        raise file.error("dataset.writelist", f"at least one of {', '.join(CLASSES)}, since nothing else is learned")
    merges = file.value("dataset.class_merging", "flag", False)
    merged = [name for name in MERGED if merges or name in names]
    beside = f"{' and '.join(name for name in names if name not in CLASSES)} draw heat for Car and are not learned"
    why = beside if len(wanted) < len(names) else ""
    told_during_training = "Car" if "Car" in wanted else wanted[0]
    file.give("dataset.writelist", {"network.train_classes": wanted, "evaluation.category": told_during_training}, why)
    if merged:
        heat_of = dict.fromkeys(merged, "Car")
        file.train("targets.heat_of", heat_of, "dataset.class_merging" if merges else "dataset.writelist")
    here = f"train.targets.heat_of: {{{', '.join(f'{name}: Car' for name in merged)}}}"
    why = "the public evaluation stops at these types, ours does not" if merges else ""
    file.tell("dataset.class_merging", "taken", here if merges else "train.targets.heat_of: {}", why)


def _translate_targets(file: PublicFile) -> None:
    is_3d = file.value("dataset.use_3d_center", "flag", True)
    file.give("dataset.use_3d_center", {"targets.peak_at": "centre_3d" if is_3d else "centre_2d"})
    box = file.value("dataset.bbox2d_type", "text", "anno")
    if box not in BOXES_2D:
        raise file.error("dataset.bbox2d_type", " or ".join(BOXES_2D))
    why = "a box that reaches behind the camera is cut there first" if box == "proj" else ""
    file.give("dataset.bbox2d_type", {"targets.box_2d": BOXES_2D[box]}, why)
    why = "without effect there: DontCare lies at -1000 m, and what is nearer than 2 m is dropped. For one set it to regions"
    wants_regions = file.value("dataset.use_dontcare", "flag", False)
    file.tell("dataset.use_dontcare", "not read", "train.targets.ignored: nothing", why if wants_regions else "")


def _translate_model(file: PublicFile) -> None:
    kind = file.value("model.type", "text")
    if kind not in ("centernet3d", "centernet3d_timm"):
        raise file.error("model.type", "centernet3d")
    file.tell("model.type", "taken", "train.family: monoddle")
    if file.value("model.num_class", "whole", len(CLASSES)) != len(CLASSES):
        raise file.error("model.num_class", "3. The public data set draws 3 heat maps whatever it says, so the public code stops")
    file.tell("model.num_class", "taken", f"train.network.classes: {shown(CLASSES)}")
    public = file.value("model.backbone", "text")
    _translate_backbone(file, public, is_timm=kind == "centernet3d_timm" or public.lower().startswith(TIMM_OF_PUBLIC))
    _translate_neck(file, is_yolo=public.lower().startswith("yolo"))
    for key in [key for key in file.left if key.startswith("model.model_cfg.")]:
        file.tell(key, "not read", "", "the code reads this option beside model.backbone, not below model_cfg: its default acts")


def _translate_backbone(file: PublicFile, public: str, *, is_timm: bool) -> None:
    name = public[len(TIMM_OF_PUBLIC) :] if public.lower().startswith(TIMM_OF_PUBLIC) else public
    backbone, fate, why = "dla34", "taken", ""
    if public.lower().startswith("yolo"):
        fate, why = "lost", "networks of the package ultralytics are not here. The recipe trains dla34, which is another network"
    elif is_timm:
        architecture, _, weights = name.partition(".")
        backbone = architecture if architecture in OWN_BACKBONES else f"{TIMM_PREFIX}{name}"
        why = f"'{weights}' names the weights that it starts from" if weights else ""
    elif name != "dla34":
        fate, why = "lost", "no network of the public code. The recipe trains dla34, which is another network"
    fate_of: Fate = "taken" if fate == "taken" else "lost"
    file.train("network.backbone", backbone, "model.backbone" if fate_of == "taken" else f"not {public}, which is not here")
    file.tell("model.backbone", fate_of, f"train.network.backbone: {backbone}", why)
    starts = file.value("model.pretrained", "flag", True) if is_timm else True
    freezes = file.value("model.freeze_backbone", "flag", False)
    why = "the public code freezes networks of timm and YOLO; their batch norms go by each batch even so" if freezes else ""
    statistics = {"frozen_statistics": False} if freezes else {}
    file.give("model.freeze_backbone", {"frozen_backbone": freezes, **statistics}, why)
    file.made.starts_from = name if starts and fate_of == "taken" else ""
    if is_timm:
        file.tell("model.pretrained", "taken", "train.imagenet_weights", "a file on this machine; nothing is downloaded")
    file.tell("model.pretrained", "not read", "", "read for timm's networks only; the others always start from ImageNet weights")


def _translate_neck(file: PublicFile, *, is_yolo: bool) -> None:
    neck = file.value("model.neck", "text", "DLAUp")
    if neck == "NativeNeck" and is_yolo:
        file.tell("model.neck", "lost", "", "a top-down pyramid over three levels of a YOLO network; the neck here is DLAUp")
    elif neck == "DLAUp":
        file.tell("model.neck", "elsewhere", "", "the neck here, always")
    else:
        file.tell("model.neck", "not read", "", f"the code knows no {neck} for this backbone and takes DLAUp, as here")
    is_usual = file.values.get("model.feature_strides", STRIDES) == STRIDES
    why = "levels are taken at strides 4, 8, 16 and 32, always"
    file.tell("model.feature_strides", "elsewhere" if is_usual else "lost", "", why)
    for key in ("model.ultralytics_model", "model.neck_out_channels", "model.feature_indices"):
        file.tell(key, "lost" if is_yolo else "not read", "", "of a YOLO backbone" if is_yolo else "read for YOLO backbones only")
    file.tell("model.input_size", "not read", "", "the input there is 384x1280, always; here it is train.network.input_px")


def _translate_training(file: PublicFile) -> None:
    warms_up = file.value("lr_scheduler.warmup", "flag", False)
    warm_up = {"warm_up_epochs": WARM_UP_EPOCHS, "warm_up_from": WARM_UP_FROM} if warms_up else {"warm_up_epochs": 0}
    file.give("lr_scheduler.warmup", warm_up, "both numbers are constants of the public code" if warms_up else "")
    falls = file.values.get("lr_scheduler.decay_list")
    if not isinstance(falls, list) or not all(map(is_whole, falls)):
        raise file.error("lr_scheduler.decay_list", "a list of epochs, e.g. [90, 120]")
    late = " and ".join(str(at + WARM_UP_EPOCHS) for at in falls)
    why = f"the rate falls at {late}, as in the public code, whose warm-up delays it (train.schedule: compat)" if warms_up else ""
    file.give("lr_scheduler.decay_list", {"decay_epochs": falls}, why)
    _translate_rate(file)
    _translate_checkpoints(file)
    num_gpus = len(str(file.values.get("trainer.gpu_ids", "0")).split(","))
    file.tell("trainer.gpu_ids", "elsewhere", "setting DEPTHMILL_NUM_DEVICES", f"{num_gpus} there")


def _translate_rate(file: PublicFile) -> None:
    kind = file.value("optimizer.type", "text")
    if kind not in OPTIMIZERS:
        raise file.error("optimizer.type", " or ".join(OPTIMIZERS))
    momentum = {"momentum": SGD_MOMENTUM} if kind == "sgd" else {}
    differs = {"sgd": "the momentum is a constant of the public code", "adamw": "torch's; the public one stops at today's torch"}
    file.give("optimizer.type", {"optimizer": kind, **momentum}, differs.get(kind, ""))
    if not any(key.startswith("distributed.dp_reference.") for key in file.values):
        return
    whole, rate = "distributed.dp_reference.total_batch_size", "distributed.dp_reference.lr"
    batch, of_batch = file.value(whole, "whole", least=1), file.value(rate, "number")
    for key, source, value in (("dataset.batch_size", whole, batch), ("optimizer.lr", rate, of_batch)):
        if file.value(key, MAPPED[key].kind, value, least=MAPPED[key].least) != value:
            file.replace(key, source, value)
    why = "the rate is meant for so many frames a step; with another number it changes in proportion, as in the public script"
    file.give(whole, {"learning_rate_of_batch": batch}, why)
    file.tell(rate, "taken", f"train.learning_rate: {shown(of_batch)}")


def _translate_checkpoints(file: PublicFile) -> None:
    every = file.value("trainer.save_frequency", "whole", least=1)
    file.give("trainer.save_frequency", {"checkpoint_every_epochs": every})
    if "trainer.max_checkpoints" in file.values:
        most, epochs = file.value("trainer.max_checkpoints", "whole"), file.value("trainer.max_epoch", "whole", least=1)
        why = "" if most else "0 keeps all of them: so many there are"
        file.give("trainer.max_checkpoints", {"keep_checkpoints": most or math.ceil(epochs / every)}, why)
    mode = file.value("tester.mode", "text", "single")
    if mode not in ("single", "all"):
        raise file.error("tester.mode", "single or all")
    file.give("tester.mode", {"evaluate_checkpoints": mode == "all"})
    if "trainer.pretrain_model" in file.values:
        why = "starting from a checkpoint of the public code is not here; train.start_from takes checkpoints of depthmill"
        file.tell("trainer.pretrain_model", "lost" if file.values["trainer.pretrain_model"] else "not read", "", why)


def _fate_of_rest(key: str, value: Any) -> tuple[Fate, str, str]:
    """Return the fate of a key that no function above has told of: its fate, what to use here, and why."""
    if key in NO_RECIPE_KEY:
        return NO_RECIPE_KEY[key]
    if key in OTHER_VERSIONS:
        return "lost" if value else "not read", "", f"{OTHER_VERSIONS[key]}. Only older versions of the public code read it"
    near = difflib.get_close_matches(key, [*MAPPED, *NO_RECIPE_KEY], n=1, cutoff=0.85)
    return "lost", "", f"unknown key: the public code reads no such key{f'. Did you mean {near[0]}?' if near else ''}"
