"""The closed vocabulary of ``Task.inputs``: what the rows of a task may be.

This table has the names and what each needs of the data. The classes that read and embed rows
implement ``etab.features.base.Input``. A new input is a row of ``ROW_INPUTS`` and such a class.
"""

from __future__ import annotations

from dataclasses import dataclass

from etab.registry import Registry


@dataclass(frozen=True, slots=True)
class RowInput:
    """One name that ``Task.inputs`` may have.

    name      as tasks name it: "frame", "ED+ES", "clips", "recording", ...
    words     what a row is, for tables and messages
    modality  "image" or "sound": what the data must hold
    module    the module that reads and embeds it; importing it registers its
              ``etab.features.base.Input``
    phases    phases that the data must mark, in the order of a row's frames: 0 end-diastole, 1
              end-systole
    clip      whether the task says how clips are cut (``Task.clip``)
    """

    name: str
    words: str
    modality: str
    module: str
    phases: tuple[int, ...] = ()
    clip: bool = False


ROW_INPUTS: Registry[RowInput] = Registry("input of tasks")

for _row in (
    RowInput("frame", "every ED or ES frame", "image", "etab.features.frames", phases=(0, 1)),
    RowInput("ED", "the ED frame of a recording", "image", "etab.features.frames", phases=(0,)),
    RowInput(
        "ED+ES", "the ED and ES frames of a recording", "image", "etab.features.frames", (0, 1)
    ),
    RowInput("answer", "the frame of every answer", "image", "etab.features.frames"),
    RowInput("clip", "the middle clip of a recording", "image", "etab.features.clips", clip=True),
    RowInput("clips", "every clip of a recording", "image", "etab.features.clips", clip=True),
    RowInput("beats", "a clip for each beat", "image", "etab.features.clips", clip=True),
    RowInput("window", "every window of a recording", "sound", "etab.features.windows"),
    RowInput("recording", "a recording, by all its windows", "sound", "etab.features.recordings"),
):
    ROW_INPUTS.add(_row.name, _row)
