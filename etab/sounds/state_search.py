"""The extended Viterbi search for the states of heart sounds, of one recording or of many together.

S1, systole, S2 and diastole follow each other, and the duration of each has a distribution. The
first and the last state may reach beyond the recording. ``etab.sounds.semimarkov`` contains the
model that uses the search.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etab.errors import UndefinedError
from etab.types import FloatArray, IntArray

STATE_COUNT = 4
_NEVER = -np.inf


def viterbi(emission: FloatArray, durations: Sequence[FloatArray]) -> tuple[IntArray, float, int]:
    """Find the most likely states of a cyclic semi-Markov chain, over all hypotheses of durations.

    The first and the last state may reach beyond the recording: they are weighted by the
    probability that they last *at least* as long as the part inside it. The search is exact. A
    state lasts no less than its shortest duration, so whole blocks of frames are searched together;
    durations are looked up along the best path only.

    Args:
        emission: (n, 4) log-likelihoods of frames.
        durations: A table (4, d) for each hypothesis: log-probabilities of 1 to d frames, d < n.

    Returns:
        (states, score, hypothesis): the states (n,), their log-likelihood, and the index of the
        hypothesis.

    Raises:
        UndefinedError: The recording is not longer than one state can be, or no sequence of states
            has these durations.

    Example:
        >>> emission = np.log(np.full((40, 4), 0.25))
        >>> table = np.log(np.full((4, 8), 0.125))
        >>> states, _, _ = viterbi(emission, [table])
        >>> len(states)
        40
    """
    paths = viterbi_of_all([emission], [durations])
    return paths[0]


def viterbi_of_all(
    emissions: Sequence[FloatArray], durations: Sequence[Sequence[FloatArray]]
) -> list[tuple[IntArray, float, int]]:
    """Search several recordings together: the same results as ``viterbi``, in less time.

    Args:
        emissions: For each recording, (n_i, 4) log-likelihoods of frames.
        durations: For each recording, its hypotheses as for ``viterbi``.

    Returns:
        For each recording, its states (n_i,), their log-likelihood and the index of the hypothesis.

    Raises:
        UndefinedError: If a recording is not longer than one state can be, or no sequence of
            states has its durations.

    Example:
        >>> emission = np.log(np.full((40, 4), 0.25))
        >>> table = np.log(np.full((4, 8), 0.125))
        >>> paths = viterbi_of_all([emission, emission[:30]], [[table], [table]])
        >>> [len(states) for states, _, _ in paths]
        [40, 30]
    """
    longest = _longest_durations(emissions, durations)
    # Rows of the tables: four for each hypothesis, the hypotheses of one recording side by side.
    counts = [STATE_COUNT * len(hypotheses) for hypotheses in durations]
    edges = np.cumsum([0, *counts]).tolist()
    n_rows = edges[-1]
    most_frames = max(map(len, emissions))
    table = np.full((n_rows, max(longest)), _NEVER)
    total = np.zeros((n_rows, most_frames + 1))
    for first, emission, hypotheses in zip(edges, emissions, durations, strict=False):
        summed = np.cumsum(emission, axis=0).T
        end = len(emission) + 1
        for h, of_hypothesis in enumerate(hypotheses):
            start = first + STATE_COUNT * h
            rows = slice(start, start + STATE_COUNT)
            table[rows, : of_hypothesis.shape[1]] = of_hypothesis
            total[rows, 1:end] = summed
            # Frames beyond the end of a recording add nothing and are never looked up.
            total[rows, end:] = summed[:, -1:]
    survival = _survival(table)
    value = _forward(total, table, survival)
    paths = []
    for i, emission in enumerate(emissions):
        rows = slice(edges[i], edges[i + 1])
        end = len(emission) + 1
        most = longest[i]
        path = _best_path(
            value[rows, :end],
            total[rows, :end],
            table[rows, :most],
            survival[rows, :most],
        )
        paths.append(path)
    return paths


def _longest_durations(
    emissions: Sequence[FloatArray], durations: Sequence[Sequence[FloatArray]]
) -> list[int]:
    """The longest duration of any state of each recording, in frames."""
    longest = []
    for emission, hypotheses in zip(emissions, durations, strict=True):
        most = max(table.shape[1] for table in hypotheses)
        if len(emission) <= most:
            raise UndefinedError(
                f"{len(emission)} frames are not longer than one state can be ({most}). "
                "Leave the recording out."
            )
        longest.append(most)
    return longest


def _survival(table: FloatArray) -> FloatArray:
    """Log-probabilities to last at least 1, 2, ... frames, from those to last exactly as long."""
    backwards = np.exp(table)[:, ::-1]
    at_least = np.cumsum(backwards, axis=1)[:, ::-1]
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(at_least))


def _best_path(
    value: FloatArray,
    total: FloatArray,
    table: FloatArray,
    survival: FloatArray,
) -> tuple[IntArray, float, int]:
    """The best states of one recording from the values (rows, n + 1) of ``_forward``."""
    n_rows, longest = table.shape
    n = value.shape[1] - 1
    rows = np.arange(n_rows)
    first_of_hypothesis = (rows // STATE_COUNT) * STATE_COUNT
    # The row of the state before each state, in the same hypothesis.
    before = first_of_hypothesis + (rows - 1) % STATE_COUNT
    starts = np.arange(n - 1, n - longest - 1, -1)
    ends = value[before][:, starts] + survival + total[:, -1:] - total[:, starts]
    best = int(ends.argmax())
    row, rest = divmod(best, longest)
    score = float(ends[row, rest])
    if not np.isfinite(score):
        raise UndefinedError("No sequence of states has these durations. Widen the spreads.")
    states = np.empty(n, dtype=np.int64)
    end = n
    length = rest + 1
    while True:
        states[end - length : end] = row % STATE_COUNT
        end -= length
        if end == 0:
            return states, score, row // STATE_COUNT
        row = int(before[row])
        starts_of_state = slice(max(0, end - longest), end)
        entered = value[before[row], starts_of_state] - total[row, starts_of_state]
        length = _best_length(
            end,
            entered,
            table[row],
            survival[row],
            total=float(total[row, end]),
        )


def _best_length(
    end: int,
    entered: FloatArray,
    table: FloatArray,
    survival: FloatArray,
    total: float,
) -> int:
    """Find the duration of a state that ends before a frame: the one with the best value.

    Args:
        end: The frame.
        entered: (d,) value of the preceding state at the last d starts, at most ``longest``, less
            the likelihood up to each start.
        table: (longest,) log-probabilities of durations.
        survival: (longest,) log-probabilities to last at least as long, for a state that begins
            before the recording.
        total: Log-likelihood of the frames up to the end in this state.

    Returns:
        Frames. Of equal values the longest duration is taken, and before any other the duration
        from the beginning of the recording.
    """
    # ``argmax`` takes the first of equal values: the longest duration comes first.
    longest_first = table[: len(entered)][::-1]
    reached = entered + longest_first
    best = int(reached.argmax())
    if end <= len(survival):
        from_beginning = survival[end - 1] + total
        if reached[best] + total <= from_beginning:
            return end
    return len(reached) - best


def _forward(
    total: FloatArray,
    table: FloatArray,
    survival: FloatArray,
) -> FloatArray:
    """Best log-likelihood (rows, n + 1) of a state that ends before frame t.

    A state begins no later than its shortest duration before its end. So the states are searched
    one after the other, in blocks as long as the shortest cycle. The block of a state is shifted by
    its shortest duration against the block of the preceding state.
    """
    rows = len(total)
    n = total.shape[1] - 1
    longest = table.shape[1]
    value = np.full((rows, n + 1), _NEVER)
    value[:, 1 : longest + 1] = survival + total[:, 1 : longest + 1]
    searches = [_StateSearch(table, state, n) for state in range(STATE_COUNT)]
    values = [value[state::STATE_COUNT] for state in range(STATE_COUNT)]
    totals = [total[state::STATE_COUNT] for state in range(STATE_COUNT)]
    shortest = [int(search.shortest.min()) for search in searches]
    shifts = (np.cumsum(shortest) - shortest[0]).tolist()
    block = sum(shortest)
    for start in range(1 - block, n + 1, block):
        for state, search in enumerate(searches):
            block_start = start + shifts[state]
            first = max(1, block_start)
            end = min(block_start + block, n + 1)
            if first >= end:
                continue
            best = values[state][:, first:end]
            from_starts = search.best(first, end) + totals[state][:, first:end]
            np.maximum(best, from_starts, out=best)
            following = (state + 1) % STATE_COUNT
            entered = best - totals[following][:, first:end]
            searches[following].enter(first, end, entered)
    return value


class _StateSearch:
    """The best duration of one state in every hypothesis, for some frames at a time.

    Each hypothesis allows few durations. The values at starts of the state are stored so that the
    possible starts of a state that ends before frame t lie in one window that begins at t, in every
    hypothesis.
    """

    def __init__(self, table: FloatArray, state: int, n: int) -> None:
        """Lay out the durations of a state.

        Args:
            table: (4 hypotheses, longest) log-probabilities of durations.
            state: The state, 0 to 3.
            n: Number of frames.
        """
        of_state = table[state::STATE_COUNT]
        hypotheses = len(of_state)
        longest = table.shape[1]
        possible = np.isfinite(of_state)
        first_possible = np.where(possible.any(axis=1), possible.argmax(axis=1), 0)
        self.shortest = first_possible + 1
        most = longest - possible[:, ::-1].argmax(axis=1)
        self.width = int((most - self.shortest).max()) + 1
        # Column j of a window is the duration shortest + width - 1 - j.
        longest_in_window = self.shortest + self.width - 1
        durations = longest_in_window[:, None] - np.arange(self.width)
        padded = np.pad(of_state, ((0, 0), (0, self.width)), constant_values=_NEVER)
        self.log_p = np.take_along_axis(padded, durations - 1, axis=1).T[:, :, None]
        row_length = n + longest + 2 * self.width
        entry = np.full((hypotheses, row_length), _NEVER)
        windows = np.lib.stride_tricks.sliding_window_view(entry, self.width, axis=1)
        # (width, hypotheses, windows): the best of many columns is found a row at a time.
        self.windows = windows.transpose(2, 0, 1)
        self.entry = entry.reshape(-1)
        # Index into ``entry`` of each start, in a row for each hypothesis.
        row_starts = np.arange(hypotheses) * row_length
        at_frame_0 = row_starts + longest_in_window
        self.index = at_frame_0[:, None] + np.arange(n + 1)

    def enter(self, first: int, end: int, starts: FloatArray) -> None:
        """Store the values (hypotheses, end - first) of states that start at these frames."""
        self.entry[self.index[:, first:end]] = starts

    def best(self, first: int, end: int) -> FloatArray:
        """Find the best value (hypotheses, end - first) of a state that ends before each frame.

        The likelihood of the frames up to the end is not included.
        """
        reached = np.add(self.windows[:, :, first:end], self.log_p, order="C")
        return np.asarray(reached.max(axis=0))
