"""What there is, as tables: the one source of the tables on the command line and in the documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from etab import backbones, datasets, heads
from etab.echo import views
from etab.metrics import METRICS
from etab.registry import Registry
from etab.runs import cross
from etab.tasks.base import Task
from etab.tasks.codes import CATEGORIES
from etab.tasks.menu import TASKS


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table of strings."""

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


TABLES: Registry[Callable[[], Table]] = Registry("list")


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    return Table(title, tuple(header), tuple(tuple(str(c) for c in row) for row in rows))


@TABLES.register("datasets")
def datasets_table() -> Table:
    """Datasets from their cards."""
    cards = [s.card for s in datasets.SOURCES.values()]
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
        ],
    )


@TABLES.register("targets")
def targets_table() -> Table:
    """Targets of every dataset."""
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
def views_table() -> Table:
    """Views with every name they go by."""
    names: dict[str, list[str]] = {}
    for alias, view in views.aliases().items():
        names.setdefault(view, []).append(alias)
    return _table("Views", ("view", "also written"), [(v, ", ".join(a)) for v, a in names.items()])


@TABLES.register("backbones")
def backbones_table() -> Table:
    """Backbones that are named here; any timm or torchvision model can be asked for besides."""
    cards, faults = backbones.cards([*backbones.names(), *backbones.optional()])
    return _table(
        "Backbones",
        ("name", "what it is", "pretraining", "parameters", "input", "width", "layers", "licence"),
        [
            (
                c.name,
                c.title,
                c.pretraining or "none",
                f"{c.params / 1e6:.2f} M" if c.params else "" if c.learned else "0",
                f"{c.rate} Hz" if c.rate else f"{c.size} px {c.interpolation}",
                c.dim or "",
                ", ".join(c.layers),
                c.licence,
            )
            for c in cards
        ]
        + [(name, f"cannot be used: {fault}", *[""] * 6) for name, fault in faults.items()],
    )


@TABLES.register("video")
def video_table() -> Table:
    """Backbones of whole clips; the published ones want a file of weights."""
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


@TABLES.register("heads")
def heads_table() -> Table:
    """Task heads."""
    found = [heads.head(n) for n in heads.names()]
    return _table(
        "Heads",
        ("name", "answers", "needs", "what it is"),
        [
            (
                h.name,
                ", ".join(sorted(h.kinds)),
                "maps"
                if h.needs_maps
                else "sequences"
                if h.needs_sequences
                else "a series at 50 Hz"
                if h.needs_series
                else "pooled features",
                " ".join((h.__doc__ or "").split("\n\n")[0].split()),
            )
            for h in found
        ],
    )


@TABLES.register("metrics")
def metrics_table() -> Table:
    """Metrics with range and direction."""
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
def tasks_table() -> Table:
    """The menu of tasks with both anchors and where they come from."""
    return _table(
        "Tasks",
        (
            "code",
            "category",
            "what is asked",
            "data",
            "input",
            "metric",
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
def cross_table() -> Table:
    """Cross-dataset cells: fitted on one dataset, tested on another, with metric and anchors of the
    one tested on.
    """
    return _table(
        "Cross-dataset cells",
        ("code", "what is asked", "fitted on", "tested on", "input", "metric", "head", "version"),
        [
            (t.code, t.title, t.fit_on, t.dataset, t.inputs, t.metric, t.head, t.version)
            for t in cross.cells()
        ],
    )
