"""The extended Viterbi search for the states of heart sounds, of one recording or of many together.

S1, systole, S2, diastole follow each other, and how long each lasts has a distribution. The first and
the last state may reach beyond the recording. ``etab.sounds.semimarkov`` has the model around it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etab.errors import UndefinedError
from etab.types import FloatArray, IntArray

STATE_COUNT = 4
_NEVER = -np.inf


def viterbi(emission: FloatArray, durations: Sequence[FloatArray]) -> tuple[IntArray, float, int]:
    """The likeliest states of a cyclic semi-Markov chain, over several hypotheses of its durations
    at once.

    emission: (n, 4) log-likelihoods of frames. durations: tables (4, d) of log-probabilities of 1
    to d frames, one a hypothesis, with d < n. The first and the last state may reach beyond the
    recording: they weigh as the probability to last *at least* what is seen of them. Returns
    (states (n,), log-likelihood, index of the hypothesis).
    Exact: a state lasts no less than its shortest duration, so that whole blocks of frames are
        searched together; durations are looked up along the best path alone.
    """
    return viterbi_of_all([emission], [durations])[0]


def viterbi_of_all(
    emissions: Sequence[FloatArray], durations: Sequence[Sequence[FloatArray]]
) -> list[tuple[IntArray, float, int]]:
    """Search several recordings together: the same answers as ``viterbi``, in less time.

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
        >>> [len(found[0]) for found in viterbi_of_all([emission, emission[:30]], [[table]] * 2)]
        [40, 30]
    """
    longest = []
    for emission, hypotheses in zip(emissions, durations, strict=True):
        longest.append(max(table.shape[1] for table in hypotheses))
        if len(emission) <= longest[-1]:
            raise UndefinedError(
                f"{len(emission)} frames are not longer than one state can be ({longest[-1]}). "
                "Leave the recording out."
            )
    counts = [STATE_COUNT * len(hypotheses) for hypotheses in durations]
    edges = np.cumsum([0, *counts]).tolist()
    table = np.full((edges[-1], max(longest)), _NEVER)
    total = np.zeros((edges[-1], max(map(len, emissions)) + 1))
    for first, emission, hypotheses in zip(edges, emissions, durations, strict=False):
        summed = np.cumsum(emission, axis=0).T
        for h, own in enumerate(hypotheses):
            rows = slice(first + STATE_COUNT * h, first + STATE_COUNT * (h + 1))
            table[rows, : own.shape[1]] = own
            total[rows, 1 : len(emission) + 1] = summed
            # Frames beyond the end of a recording count nothing and are never looked at.
            total[rows, len(emission) + 1 :] = summed[:, -1:]
    with np.errstate(divide="ignore"):
        survival = np.log(np.cumsum(np.exp(table)[:, ::-1], axis=1)[:, ::-1])
    value = _forward(total, table, survival)
    paths = []
    for i, emission in enumerate(emissions):
        rows = slice(edges[i], edges[i + 1])
        end = len(emission) + 1
        most = longest[i]
        paths.append(
            _best_path(
                value[rows, :end], total[rows, :end], table[rows, :most], survival[rows, :most]
            )
        )
    return paths


def _best_path(
    value: FloatArray,
    total: FloatArray,
    table: FloatArray,
    survival: FloatArray,
) -> tuple[IntArray, float, int]:
    """The best states of one recording from the values (rows, n + 1) of ``_forward``."""
    rows, longest = table.shape
    n = value.shape[1] - 1
    before = (np.arange(rows) // STATE_COUNT) * STATE_COUNT + (np.arange(rows) - 1) % STATE_COUNT
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
        seen = slice(max(0, end - longest), end)
        entered = value[before[row], seen] - total[row, seen]
        length = _best_length(end, entered, table[row], survival[row], float(total[row, end]))


def _best_length(
    end: int,
    entered: FloatArray,
    table: FloatArray,
    survival: FloatArray,
    total: float,
) -> int:
    """How long a state lasted that ends before a frame: the duration of its best value.

    Args:
        end: The frame.
        entered: (d,) value of the state before at the last d starts, at most ``longest``, less the
            likelihood up to there.
        table: (longest,) log-probabilities of durations.
        survival: (longest,) log-probabilities to last at least as long, from the beginning on.
        total: Likelihood of the frames up to the end in this state.

    Returns:
        Frames. Of equal values the longest duration is taken; the beginning before all.
    """
    # The longest duration comes first: of equal values it is taken.
    reached = entered + table[: len(entered)][::-1]
    best = int(reached.argmax())
    if end <= len(survival) and reached[best] + total <= survival[end - 1] + total:
        return end
    return len(reached) - best


def _forward(
    total: FloatArray,
    table: FloatArray,
    survival: FloatArray,
) -> FloatArray:
    """Best log-likelihood (rows, n + 1) of a state that ends before frame t.

    A state follows the one before it by no less than its shortest duration. So one state after the
    other is searched in blocks as long as the shortest cycle, each shifted by the shortest duration
    of the state against the block of the state before.
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
            first = max(1, start + shifts[state])
            end = min(start + shifts[state] + block, n + 1)
            if first >= end:
                continue
            best = values[state][:, first:end]
            np.maximum(best, search.best(first, end) + totals[state][:, first:end], out=best)
            following = (state + 1) % STATE_COUNT
            searches[following].enter(first, end, best - totals[following][:, first:end])
    return value


class _StateSearch:
    """The best duration of one state in every hypothesis, for some frames at a time.

    Each hypothesis allows few durations. The values of the states that start are laid down so that
    the possible starts of the state which ends before frame t lie in one window that begins at t,
    for every hypothesis alike.
    """

    def __init__(self, table: FloatArray, state: int, n: int) -> None:
        """Lay out the durations of a state.

        Args:
            table: (4 hypotheses, longest) log-probabilities of durations.
            state: The state, 0 to 3.
            n: Number of frames.
        """
        own = table[state::STATE_COUNT]
        possible = np.isfinite(own)
        longest = table.shape[1]
        self.shortest = np.where(possible.any(axis=1), possible.argmax(axis=1), 0) + 1
        most = longest - possible[:, ::-1].argmax(axis=1)
        self.width = int((most - self.shortest).max()) + 1
        # Column j of a window is the duration shortest + width - 1 - j.
        durations = (self.shortest + self.width - 1)[:, None] - np.arange(self.width)
        padded = np.pad(own, ((0, 0), (0, self.width)), constant_values=_NEVER)
        self.log_p = np.take_along_axis(padded, durations - 1, axis=1)[:, None]
        entry = np.full((len(own), n + longest + 2 * self.width), _NEVER)
        self.windows = np.lib.stride_tricks.sliding_window_view(entry, self.width, axis=1)
        self.entry = entry.reshape(-1)
        # Where the value of a start at frame 0 lies, in a row for each hypothesis.
        in_row = np.arange(len(own)) * entry.shape[1]
        self.places = (in_row + self.shortest + self.width - 1)[:, None] + np.arange(n + 1)

    def enter(self, first: int, end: int, starts: FloatArray) -> None:
        """Lay down the values (hypotheses, end - first) of states that start at these frames."""
        self.entry[self.places[:, first:end]] = starts

    def best(self, first: int, end: int) -> FloatArray:
        """The best value (hypotheses, end - first) of a state that ends before each frame.

        It is without the likelihood of the frames up to the end.
        """
        return np.asarray((self.windows[:, first:end] + self.log_p).max(axis=2))
