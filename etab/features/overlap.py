"""Reading before and writing after the network, in threads, while the network computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from etab.types import Array

_T = TypeVar("_T")


def ahead(parts: Sequence[_T], read: Callable[[_T], Array]) -> Iterator[Array]:
    """Yield ``read(part)`` for each part, reading one part ahead of its use.

    Args:
        parts: The parts, in order.
        read: Reads one part; it is called in another thread.
    """
    if not parts:
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(read, parts[0])
        for following in [*parts[1:], None]:
            batch = waiting.result()
            if following is not None:
                waiting = pool.submit(read, following)
            yield batch


class OneBehind:
    """Calls functions in another thread, in order, at most one call behind the caller.

    Used as a context, it ends when the last call has ended.

    Example:
        >>> order = []
        >>> with OneBehind() as behind:
        ...     for i in range(3):
        ...         behind.call(lambda i=i: order.append(i))
        >>> order
        [0, 1, 2]
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def call(self, function: Callable[[], None]) -> None:
        """Wait for the call before this one, and start this one.

        Args:
            function: It is called in the other thread.

        Raises:
            Exception: What the call before this one raised.
        """
        self.wait()
        self._last = self._pool.submit(function)

    def wait(self) -> None:
        """Wait for the last call.

        Raises:
            Exception: What the last call raised.
        """
        last = self._last
        self._last = None
        if last is not None:
            last.result()

    def __enter__(self) -> OneBehind:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            # An error of the caller is not replaced by one of the last call.
            if error is None:
                self.wait()
        finally:
            self._pool.shutdown()
