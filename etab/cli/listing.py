"""Tables of datasets, backbones, heads and tasks, for the command line and the documents.

Each table imports what it lists, so that a list of tasks does not wait for all backbones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etab.registry import Registry

if TYPE_CHECKING:
    from etab.backbones.base import BackboneCard
    from etab.heads.base import Head
    from etab.tasks.base import Task


@dataclass(frozen=True, slots=True)
class ListTable:
    """A titled table of strings.

    Attributes:
        title: Title of the table.
        header: Names of the columns.
        rows: Cells of each row.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Write the table as Markdown."""
        lines = ["| " + " | ".join(self.header) + " |", "|" + "---|" * len(self.header)]
        lines += [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in self.rows
        ]
        return "\n".join(lines) + "\n"


TABLES: Registry[Callable[[], ListTable]] = Registry("list")


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> ListTable:
    cells = tuple(tuple(str(cell) for cell in row) for row in rows)
    return ListTable(title, tuple(header), cells)


@TABLES.register("datasets")
def datasets_table() -> ListTable:
    """List the datasets, from their cards."""
    from etab import datasets
    from etab.datasets.own.classes import installed_cards

    brought, faults = installed_cards()
    own = {card.name for card in brought}
    cards = [card for name, card in datasets.cards().items() if name not in own] + brought
    return _table(
        "Datasets",
        ("name", "code", "title", "views", "targets", "licence", "access", "last seen real"),
        [
            (
                c.name,
                c.code,
                c.title,
                ", ".join(c.views),
                ", ".join(t.name for t in c.targets),
                c.licence,
                c.access,
                c.last_seen_real or "not yet",
            )
            for c in cards
        ]
        + [
            (name, "", f"a package brings it, and it {fault}", *[""] * 5)
            for name, fault in faults.items()
        ],
    )


@TABLES.register("targets")
def targets_table() -> ListTable:
    """List the targets of every dataset."""
    from etab import datasets

    return _table(
        "Targets",
        ("dataset", "target", "kind", "unit", "classes", "what it is"),
        [
            (s.card.name, t.name, t.kind, t.unit, ", ".join(t.classes), t.description)
            for s in datasets.SOURCES.values()
            for t in s.card.targets
        ],
    )


@TABLES.register("views")
def views_table() -> ListTable:
    """List the views with all their names."""
    from etab.echo import views

    names: dict[str, list[str]] = {}
    for alias, view in views.aliases().items():
        names.setdefault(view, []).append(alias)
    return _table("Views", ("view", "also written"), [(v, ", ".join(a)) for v, a in names.items()])


def _parameters(card: BackboneCard) -> str:
    if card.params:
        return f"{card.params / 1e6:.2f} M"
    return "" if card.learned else "0"


@TABLES.register("backbones")
def backbones_table() -> ListTable:
    """List the backbones that etab names; any timm or torchvision model can be used as well."""
    from etab import backbones

    wanted = [*backbones.names(), *backbones.optional(), *backbones.installed()]
    cards, faults = backbones.cards(wanted)
    return _table(
        "Backbones",
        ("name", "what it is", "pretraining", "parameters", "input", "width", "layers", "licence"),
        [
            (
                c.name,
                c.title,
                c.pretraining or "none",
                _parameters(c),
                f"{c.rate} Hz" if c.rate else f"{c.size} px {c.interpolation}",
                c.dim or "",
                ", ".join(c.layers),
                c.licence,
            )
            for c in cards
        ]
        + [(name, f"cannot be used: {fault}", *[""] * 6) for name, fault in faults.items()]
        + [(name, sentence, *[""] * 6) for name, sentence in backbones.hidden().items()],
    )


@TABLES.register("video")
def video_table() -> ListTable:
    """List the backbones of whole clips; the published ones need a file of weights."""
    from etab import backbones

    cards = [backbones.card(n) for n in backbones.video.clip_names()]
    return _table(
        "Backbones of clips",
        (
            "name",
            "what it is",
            "pretraining",
            "parameters",
            "input",
            "fitting",
            "short recordings",
            "width",
            "licence",
            "weights",
        ),
        [
            (
                c.name,
                c.title,
                c.pretraining,
                f"{(c.params or 0) / 1e6:.2f} M",
                c.clip,
                c.interpolation,
                c.clip.short if c.clip else "",
                c.dim,
                c.licence,
                c.source,
            )
            for c in cards
        ],
    )


@TABLES.register("echo")
def echo_table() -> ListTable:
    """List the networks published for echocardiography, and how each adapter was checked."""
    from etab import backbones
    from etab.backbones.checked import CHECKS

    rows = []
    for name, check in CHECKS.items():
        card = backbones.card(name)
        of_input = card.clip or f"{card.size} px, single frames"
        data = ", ".join(card.pretraining_sets)
        signed = check.by_authors or "not yet"
        rows.append((name, card.title, of_input, data, card.licence, check, signed))
    return _table(
        "Networks published for echocardiography",
        (
            "name",
            "what it is",
            "input",
            "pretrained on",
            "licence",
            "largest difference from the upstream input",
            "checked by its authors",
        ),
        rows,
    )


def _needs(head: Head) -> str:
    if head.needs_maps:
        return "maps"
    if head.needs_sequences:
        return "sequences"
    if head.needs_tokens:
        return "tokens"
    if head.needs_series:
        return "a series at 50 Hz"
    return "pooled features"


@TABLES.register("heads")
def heads_table() -> ListTable:
    """List the heads of tasks."""
    from etab import heads

    chosen = [heads.head(n) for n in heads.names()]
    return _table(
        "Heads",
        ("name", "answers", "needs", "what it is"),
        [
            (
                h.name,
                ", ".join(sorted(h.kinds)),
                _needs(h),
                " ".join((h.__doc__ or "").split("\n\n")[0].split()),
            )
            for h in chosen
        ],
    )


@TABLES.register("metrics")
def metrics_table() -> ListTable:
    """List the metrics with range and direction."""
    from etab.metrics import METRICS

    return _table(
        "Metrics",
        ("name", "what it is", "kinds", "unit", "better", "worst", "best"),
        [
            (
                m.name,
                m.title,
                ", ".join(sorted(m.kinds)),
                m.unit,
                "higher" if m.better > 0 else "lower",
                m.worst,
                m.best,
            )
            for m in METRICS.values()
        ],
    )


def _input(task: Task) -> str:
    return f"{task.inputs} ({task.clip})" if task.clip else task.inputs


@TABLES.register("tasks")
def tasks_table() -> ListTable:
    """List the tasks of the menu, with both anchors and their sources."""
    from etab import datasets
    from etab.leaderboard.summary import target_of
    from etab.tasks.codes import CATEGORIES
    from etab.tasks.menu import TASKS
    from etab.tasks.words import metric_unit

    cards = datasets.cards()

    return _table(
        "Tasks",
        (
            "code",
            "category",
            "what is predicted",
            "data",
            "input",
            "metric",
            "unit",
            "2022 metric",
            "head",
            "0 on the anchored scale",
            "1 on the anchored scale",
            "version",
        ),
        [
            (
                t.code,
                CATEGORIES[t.category],
                t.title,
                t.dataset,
                _input(t),
                t.metric,
                metric_unit(t.metric, target_of(t.code, cards)),
                t.metric_2022,
                t.head,
                f"{t.low:g} ({t.anchors.low_source})",
                f"{t.high:g} ({t.anchors.high_source})",
                t.version,
            )
            for t in TASKS.values()
        ],
    )


@TABLES.register("cross")
def cross_table() -> ListTable:
    """List the cross-dataset cells: fitted on one dataset and tested on another.

    Metric and anchors belong to the dataset of the test.
    """
    from etab.runs import cross

    return _table(
        "Cross-dataset cells",
        (
            "code",
            "what is predicted",
            "fitted on",
            "tested on",
            "input",
            "metric",
            "head",
            "version",
        ),
        [
            (t.code, t.title, t.fit_on, t.dataset, t.inputs, t.metric, t.head, t.version)
            for t in cross.cells()
        ],
    )


@TABLES.register("lists")
def lists_table() -> ListTable:
    """List the published lists of folds that travel with etab, for --protocol lists:NAME."""
    from etab.tasks.lists import PREFIX, SHIPPED, shipped_list

    rows = []
    for name in SHIPPED:
        content = shipped_list(name)
        folds = len(content["folds"])
        rows.append(
            (f"{PREFIX}{name}", content["dataset"], folds, content["source"], content["licence"])
        )
    return _table(
        "Published lists of folds", ("protocol", "dataset", "folds", "source", "licence"), rows
    )


@TABLES.register("timm")
def timm_table() -> ListTable:
    """List the models of timm, which are backbones under the name timm/<model>."""
    import timm

    pretrained = set(timm.list_models(pretrained=True))
    return _table(
        "Models of timm",
        ("name", "published weights"),
        [(f"timm/{name}", "yes" if name in pretrained else "no") for name in timm.list_models()],
    )


@TABLES.register("torchvision")
def torchvision_table() -> ListTable:
    """List the classifiers of torchvision, which are backbones under torchvision/<model>."""
    from torchvision import models

    names = models.list_models(module=models)
    return _table(
        "Models of torchvision",
        ("name", "published weights"),
        [(f"torchvision/{name}", "yes") for name in names],
    )
