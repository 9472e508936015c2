"""A command that goes on after its process was ended, by code of a backbone or by the system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from etab.errors import EtabError
from etab.runs.data import Data
from etab.runs.execute import CLAIMS, claim_path, facts_of_cell, features_claim
from etab.runs.failed_cells import recorded_failure
from etab.runs.lost_processes import how_it_ended, record_killed
from etab.runs.run import Run, Settings
from etab.storage.claims import read_claim


@dataclass(frozen=True, slots=True)
class EarlierProcess:
    """The process of this command before this one.

    Attributes:
        pid: Its number.
        code: Its exit code, as multiprocessing gives it.
        memory_ran_out: Whether the system has counted a process, meanwhile, that it ended because
            memory ran out.
        given_up: Names of the claims of cells that processes of this command ended at.
        give_up: Called with the name of each further one.
    """

    pid: int
    code: int
    memory_ran_out: bool
    given_up: frozenset[str]
    give_up: Callable[[str], None]

    def lost_cells(
        self, waiting: Sequence[Run], settings: Settings, data: Data
    ) -> list[tuple[Run, str]]:
        """List the cells that ended processes of this command, and record those of the last one.

        Args:
            waiting: The cells without a result.
            settings: How the plan is run.
            data: The data of the plan.

        Returns:
            The cells, which are not tried again by this command, and why each failed.

        Raises:
            EtabError: If the last process was at work on none of the cells.
        """
        lost = [run for run in waiting if claim_path(run, settings).name in self.given_up]
        lost += self._recorded([run for run in waiting if run not in lost], settings, data)
        records = [
            recorded_failure(run, settings, facts_of_cell(run, settings, data)) for run in lost
        ]
        words = ["" if record is None else record.words for record in records]
        return [
            (run, f"{run.task} ({run.protocol_name}): {why}")
            for run, why in zip(lost, words, strict=True)
        ]

    def _recorded(self, left: Sequence[Run], settings: Settings, data: Data) -> list[Run]:
        """Record the cells that the last process was at work on."""
        at_work = [run for run in left if self._held(claim_path(run, settings).name, settings)]
        at_work = at_work or [
            run for run in left if self._held(features_claim(run, settings).name, settings)
        ]
        end = how_it_ended(self.code, memory_ran_out=self.memory_ran_out)
        if not at_work:
            raise EtabError(
                f"Between two cells, {end.words.replace('its worker process', 'the run')}"
            )
        killed, _ = record_killed(at_work, settings, data, end)
        for run in killed:
            self.give_up(claim_path(run, settings).name)
        return killed

    def _held(self, name: str, settings: Settings) -> bool:
        holder = read_claim(settings.results / CLAIMS / name)
        if holder is None or holder.pid != self.pid:
            return False
        # Without a namespace nobody can look the process up; this command saw it end.
        return holder.is_dead() or not holder.namespace
