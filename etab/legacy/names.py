"""Names as printed in 2022, and the names of today for them: architectures, heads, task codes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from etab import backbones
from etab.backbones.base import BackboneCard
from etab.echo.views import VIEW_CODES
from etab.errors import UnknownNameError, UnsupportedOptionError
from etab.registry import unknown
from etab.tasks.base import Task
from etab.tasks.codes import DATASET_CODES
from etab.tasks.menu import TASKS
from etab.types import Kind

ARCHITECTURES: Mapping[str, str] = {
    **{f"ResNet-{n}": f"torchvision/resnet{n}" for n in (18, 34, 50, 101, 152)},
    "ResNeXt-50": "torchvision/resnext50_32x4d",
    "ResNeXt-101": "torchvision/resnext101_32x8d",
    **{f"DenseNet-{n}": f"torchvision/densenet{n}" for n in (121, 161, 169, 201)},
    "Inception-V3": "timm/inception_v3",
    "Inception-V4": "timm/inception_v4",
    "MobileNet-V2": "torchvision/mobilenet_v2",
    "MobileNet-V3-Small": "torchvision/mobilenet_v3_small",
    "MobileNet-V3-Large": "torchvision/mobilenet_v3_large",
    "ConvNeXt-T": "torchvision/convnext_tiny",
    "ConvNeXt-S": "torchvision/convnext_small",
    "ConvNeXt-B": "torchvision/convnext_base",
    "ConvNeXt-L": "torchvision/convnext_large",
    **{f"MiT-B{n}": f"smp/mit_b{n}" for n in range(6)},
    **{f"PVTv2-B{n}": f"timm/pvt_v2_b{n}" for n in range(6)},
    "PoolFormer-S12": "timm/poolformer_s12",
    "PoolFormer-S24": "timm/poolformer_s24",
    "PoolFormer-S36": "timm/poolformer_s36",
    "PoolFormer-M36": "timm/poolformer_m36",
    "PoolFormer-M48": "timm/poolformer_m48",
    "DaViT-T": "timm/davit_tiny",
    "DaViT-S": "timm/davit_small",
    "DaViT-B": "timm/davit_base",
}
_ALSO = {
    "MobileNetV2-1.0": "MobileNet-V2",
    "ResNeXt-50-32x4d": "ResNeXt-50",
    "ResNeXt-101-32x8d": "ResNeXt-101",
}
_GONE = {
    "uniformer": ("UniFormer", "timm/caformer_s18"),
    "rest": ("ResT", "PVTv2-B1"),
}

MASK_HEADS: Mapping[str, str] = {
    "Linear": "linear",
    "U-Net": "unet",
    "U-Net++": "unetplusplus",
    "MAnet": "manet",
    "Linknet": "linknet",
    "PSPNet": "pspnet",
    "DeepLabV3": "deeplabv3",
    "DeepLabV3+": "deeplabv3plus",
    "FPN": "fpn",
    "UPer": "upernet",
    "SegFormer": "segformer",
    "TopFormer": "topformer",
    "DPT": "dpt",
}
VECTOR_HEADS: Mapping[str, str] = {
    "Linear": "linear",
    "MLP": "mlp",
    "RNN": "rnn",
    "LSTM": "lstm",
    "GRU": "gru",
}
_HEADS_ALSO = {
    "Standard linear probe": "Linear",
    "linear probe": "Linear",
    "linear_seg": "Linear",
    "UPerNet": "UPer",
    "RNN + Linear output layer": "RNN",
    "LSTM + Linear output layer": "LSTM",
    "DeepLabV3plus": "DeepLabV3+",
    "UNetPlusPlus": "U-Net++",
}

TASK_KINDS: Mapping[str, tuple[Kind, ...]] = {
    "segmentation": (Kind.MASK,),
    "classification": (Kind.BINARY, Kind.CLASSES),
    "regression": (Kind.VALUE,),
}
_TARGETS = (
    "LV_seg",
    "MY_seg",
    "LA_seg",
    "EF",
    "ES/ED",
    "CM",
    "AS",
)  # digits of the four-character codes
_OLD = re.compile(r"^([A-Z])([A-Z][A-Z0-9])(\d)$")


def plain_name(name: str) -> str:
    """Remove from a name what differs between spellings: case, hyphens, spaces and dots.

    Args:
        name: A name.

    Raises:
        UnsupportedOptionError: It is not a text.

    Example:
        >>> plain_name("ResNet-50")
        'resnet50'
    """
    if not isinstance(name, str):
        raise UnsupportedOptionError(f"{name!r} is {type(name).__name__}; wanted a name.")
    return re.sub(r"[^a-z0-9+]", "", name.lower())


def _among(
    name: str,
    known: Mapping[str, str],
    also: Mapping[str, str],
    sort: str,
) -> str:
    """Find the printed name of a spelling.

    Args:
        name: A spelling of a name.
        known: The name of today for each printed name.
        also: The printed name for each further spelling.
        sort: The sort of thing that is named, for the message.

    Raises:
        UnknownNameError: Nothing has the name; the message suggests a similar one.
    """
    printed = {plain_name(spelling): key for spelling, key in also.items()}
    printed |= {plain_name(key): key for key in known}
    printed |= {plain_name(value): key for key, value in known.items()}
    key = printed.get(plain_name(name))
    if key is None or key not in known:
        raise unknown(sort, name, known)
    return key


def architecture(
    name: str,
    *,
    pretrained: bool = False,
    seed: int = 0,
) -> BackboneCard:
    """Look up a backbone by its 2022 name ("ResNet-50"), or by any name that ``etab`` knows.

    A 2022 name is an architecture. Its weights are random or, with ``pretrained``, those of its
    library, which are downloaded once. Other names determine their weights.

    Args:
        name: Name of the backbone.
        pretrained: Whether a 2022 name has published weights.
        seed: Seed of a random initialisation.

    Raises:
        UnknownNameError: No backbone has the name. For UniFormer and ResT, the nearest backbone is
            named.
        UnsupportedOptionError: The options do not fit the name.
        WeightsError: The weights cannot be fetched.
    """
    family = _family_that_is_gone(name)
    if family is not None:
        printed, nearest = _GONE[family]
        raise UnknownNameError(
            f"{name!r}: no library that etab builds on has {printed} any more. "
            f"The nearest that exists: {nearest!r}."
        )
    model_of = {plain_name(printed): model for printed, model in ARCHITECTURES.items()}
    for spelling, printed in _ALSO.items():
        model_of[plain_name(spelling)] = ARCHITECTURES[printed]
    if name in backbones.names() or plain_name(name) not in model_of:
        return _by_own_name(name, pretrained=pretrained)
    model = model_of[plain_name(name)]
    if model.startswith("smp/"):
        from etab.legacy.mit import mit_card

        return mit_card(model.removeprefix("smp/"), None if pretrained else seed)
    if not pretrained and seed:
        raise UnsupportedOptionError(
            f"{name!r} at random initialisation has the seed 0; got {seed}."
        )
    return backbones.card(model if pretrained else f"random/{model}")


def _family_that_is_gone(name: str) -> str | None:
    """Return the key in ``_GONE`` of the family that a name belongs to, or None."""
    sizes = r"(v\d)?(tiny|lite|small|base|large|[tsbl])?\d*"
    for family in _GONE:
        if re.fullmatch(family + sizes, plain_name(name)):
            return family
    return None


def _by_own_name(name: str, *, pretrained: bool) -> BackboneCard:
    """Look up a backbone by a name that is not of 2022."""
    if pretrained and name.startswith("random/"):
        raise UnsupportedOptionError(f"pretrained=True with {name!r}: name it without 'random/'.")
    try:
        return backbones.card(name)
    except UnknownNameError as error:
        near = unknown("backbone", name, [*ARCHITECTURES, *backbones.names()])
        prefixes = str(error).rpartition("Or: ")[2]
        raise UnknownNameError(
            f"{near} Or any name of `etab list backbones`: {prefixes}"
        ) from error


def printed_head(name: str, task: str) -> str:
    """Find the printed name of a head.

    Args:
        name: Name of the head, in any spelling of 2022.
        task: "segmentation", "classification" or "regression".

    Raises:
        UnknownNameError: No head has the name.
        UnsupportedOptionError: The head is for another sort of task.
    """
    known = VECTOR_HEADS
    other = MASK_HEADS
    if task == "segmentation":
        known = MASK_HEADS
        other = VECTOR_HEADS
    try:
        return _among(name, known, _HEADS_ALSO, f"head for {task}")
    except UnknownNameError:
        spellings = (*other, *other.values(), *_HEADS_ALSO)
        if plain_name(name) not in map(plain_name, spellings):
            raise
    suitable = ", ".join(known)
    raise UnsupportedOptionError(f"The head {name!r} is not for {task}; these are: {suitable}.")


def sort_of(kind: Kind) -> str:
    """Return the 2022 word for a kind: "segmentation", "classification" or "regression".

    Args:
        kind: Kind of the answers.

    Raises:
        UnsupportedOptionError: There is no 2022 model for the kind.
    """
    for word, kinds in TASK_KINDS.items():
        if kind in kinds:
            return word
    raise UnsupportedOptionError(
        f"{kind.value} has no model among the names of 2022; it has: {', '.join(TASK_KINDS)}."
    )


def task(code: str) -> Task:
    """Look up a task by its code ("a0-A4-E") or by its 2022 code of four characters ("EA40").

    The characters of a 2022 code are dataset, view (two characters) and the number of the target:
    0 LV, 1 myocardium, 2 left atrium, 3 EF, 4 ES/ED, 5 CM, 6 AS.

    Args:
        code: The code.

    Raises:
        UnknownNameError: No task has the code.
    """
    match = _OLD.match(code)
    if not match:
        return TASKS[code]
    letter, view, number = match.groups()
    if letter not in DATASET_CODES or view not in VIEW_CODES or int(number) >= len(_TARGETS):
        raise unknown("task", code, TASKS)
    dataset = DATASET_CODES[letter]
    target = _TARGETS[int(number)]
    for candidate in TASKS.values():
        has_views = set(VIEW_CODES[view]) <= set(candidate.views)
        if candidate.dataset == dataset and candidate.target == target and has_views:
            return candidate
    raise unknown("task", code, TASKS)


def tasks_of(code: str) -> list[Task]:
    """List the tasks of a code, of a 2022 code, or of the beginning of a code ("a0", "b").

    Args:
        code: The code.

    Raises:
        UnknownNameError: No task has the code.
    """
    if not isinstance(code, str):
        raise unknown("task", code, TASKS)
    if code in TASKS or _OLD.match(code):
        return [task(code)]
    tasks = []
    if re.match(r"[a-f]\d?(-|$)", code):
        tasks = [candidate for candidate in TASKS.values() if candidate.code.startswith(code)]
    if not tasks:
        raise unknown("task", code, TASKS)
    return tasks


def check_code(code: str, sort: str, target: str = "") -> None:
    """Check that a task code fits a model and data.

    Args:
        code: The code, as for ``tasks_of``.
        sort: The sort of the model: "segmentation", "classification" or "regression".
        target: Target of the data; "" is not checked.

    Raises:
        UnsupportedOptionError: The code is of another sort or target.
        UnknownNameError: No task has the code.
    """
    tasks = tasks_of(code)
    suitable = [candidate for candidate in tasks if candidate.kind in TASK_KINDS[sort]]
    if not suitable:
        raise UnsupportedOptionError(
            f"task_code={code!r} is {sort_of(tasks[0].kind)} ({tasks[0].title}); "
            f"the model is for {sort}."
        )
    if target and target not in {candidate.target for candidate in suitable}:
        raise UnsupportedOptionError(
            f"task_code={code!r} is about {suitable[0].target}; the loader returns {target}."
        )
