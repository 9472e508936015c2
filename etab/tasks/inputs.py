"""The closed vocabulary of ``Task.inputs``: the kinds of rows that a task can have.

The table gives the names and what each kind needs from the data. The classes that read and embed
the rows implement ``etab.features.base.Input``. To add a kind of input, add a row to
``ROW_INPUTS`` and write such a class.
"""

from __future__ import annotations

from dataclasses import dataclass

from etab.registry import Registry


@dataclass(frozen=True, slots=True)
class RowInput:
    """One value of ``Task.inputs``.

    Attributes:
        name: The value as tasks give it: "frame", "ED+ES", "clips", "recording", ...
        words: A description of a row, for tables and messages.
        modality: "image" or "sound": the modality that the data must have.
        module: The module that reads and embeds the rows. Importing it registers its
            ``etab.features.base.Input``.
        phases: Phases that the data must mark, in the order of the frames of a row: 0 is
            end-diastole, 1 is end-systole.
        clip: Whether the task must define how clips are cut (``Task.clip``).
        of: The input of one view, for a row that holds several views side by side; "" where a row
            holds one recording.
    """

    name: str
    words: str
    modality: str
    module: str
    phases: tuple[int, ...] = ()
    clip: bool = False
    of: str = ""

    @property
    def several_views(self) -> bool:
        """Whether a row holds several views of a patient or a study."""
        return bool(self.of)


ROW_INPUTS: Registry[RowInput] = Registry("input of tasks")

for _row in (
    RowInput("frame", "every ED or ES frame", "image", "etab.features.frames", phases=(0, 1)),
    RowInput("ED", "the ED frame of a recording", "image", "etab.features.frames", phases=(0,)),
    RowInput(
        "ED+ES", "the ED and ES frames of a recording", "image", "etab.features.frames", (0, 1)
    ),
    RowInput(
        "views",
        "the ED and ES frames of every view of a patient",
        "image",
        "etab.features.studies",
        phases=(0, 1),
        of="ED+ES",
    ),
    RowInput(
        "views:answer",
        "the frame of every answer of a patient or study, by view",
        "image",
        "etab.features.studies",
        of="answer",
    ),
    RowInput(
        "views:clip",
        "the middle clip of every recording of a patient or study, by view",
        "image",
        "etab.features.studies",
        clip=True,
        of="clip",
    ),
    RowInput(
        "views:recording",
        "every recording of a patient, by place of auscultation",
        "sound",
        "etab.features.studies",
        of="recording",
    ),
    RowInput("answer", "the frame of every answer", "image", "etab.features.frames"),
    RowInput("clip", "the middle clip of a recording", "image", "etab.features.clips", clip=True),
    RowInput("clips", "every clip of a recording", "image", "etab.features.clips", clip=True),
    RowInput("beats", "a clip for each beat", "image", "etab.features.clips", clip=True),
    RowInput("window", "every window of a recording", "sound", "etab.features.windows"),
    RowInput("recording", "a recording, by all its windows", "sound", "etab.features.recordings"),
):
    ROW_INPUTS.add(_row.name, _row)
