"""Jobs of submitit that are forks of the process that submits them, which has imported everything."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn


def exit_after(work: Callable[[], object]) -> NoReturn:
    """End this process after some work, without what a fork would do a second time at its end.

    Args:
        work: What is done; ``SystemExit`` gives the exit status, which is 1 after another error.
    """
    code = 1
    try:
        work()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Fork:
    """A fork of this process that does some work, with the methods of ``subprocess.Popen``."""

    def __init__(
        self,
        work: Callable[[], object],
        environment: Mapping[str, str],
        streams: Mapping[int, Any] | None = None,
    ) -> None:
        """Start the process.

        Args:
            work: What it does; ``SystemExit`` gives its exit status.
            environment: Its environment variables.
            streams: Files for its output (1) and its errors (2).
        """
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid:
            return

        def at_work() -> None:
            for number, file in (streams or {}).items():
                os.dup2(file.fileno(), number)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ.clear()
            os.environ.update(environment)
            work()

        exit_after(at_work)

    def poll(self) -> int | None:
        """Return how the process ended; None while it runs."""
        if self._status is None:
            try:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                ended, status = self.pid, 1 << 8  # it was killed and buried
            if ended:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def fork_jobs() -> None:
    """Let submitit's local executor fork its controllers and their tasks; does nothing without it."""
    try:
        from submitit.core.submission import process_job
        from submitit.local import local
    except ImportError:
        return
    submitit: Any = local
    controller = local.start_controller

    def task(_: object, *, env: Mapping[str, str], stdout: Any, stderr: Any, **__: object) -> Fork:
        return Fork(lambda: process_job(env["SUBMITIT_FOLDER"]), env, {1: stdout, 2: stderr})

    def control(folder: Path) -> None:
        # It starts its tasks by subprocess.Popen.
        submitit.subprocess = SimpleNamespace(Popen=task)
        local.Controller(folder).run()

    def start(folder: Path, **options: Any) -> Any:
        environment: dict[str, str] = {}

        def popen(_: object, *, env: Mapping[str, str], **__: object) -> Fork:
            environment.update(env, SUBMITIT_FOLDER=str(folder))
            return Fork(lambda: control(folder), environment)

        submitit.subprocess = SimpleNamespace(Popen=popen)
        started: Any = controller(folder=folder, **options)
        return started

    submitit.start_controller = start
