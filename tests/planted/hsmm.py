"""Faults of heart-sound segmentation: envelopes out of place, wrong emissions, no durations, people in two parts."""

from tests.faults import Fault

TESTS, MODEL, ENVELOPES = (
    "tests/heads/test_hsmm.py",
    "etab/heads/states/hsmm.py",
    "etab/sounds/envelopes.py",
)
SEARCH = "etab/sounds/semimarkov.py"
VITERBI = "etab/sounds/state_search.py"
BEATS = "etab/heads/states/beats.py"


def _fault(name: str, file: str, old: str, new: str, test: str) -> Fault:
    return Fault(f"hsmm: {name}", file, old, new, (f"{TESTS}::{test}",))


FAULTS = [
    _fault(
        "emission of the next state",
        VITERBI,
        "summed = np.cumsum(emission, axis=0).T",
        "summed = np.cumsum(emission[:, [1, 2, 3, 0]], axis=0).T",
        "test_search_is_exact",
    ),
    _fault(
        "durations are ignored",
        VITERBI,
        "np.add(self.windows[:, :, first:end], self.log_p, ",
        "np.add(self.windows[:, :, first:end], np.minimum(self.log_p, 0) * 0.5, ",
        "test_search_is_exact",
    ),
    _fault(
        "the first state cannot begin before the recording",
        VITERBI,
        "value[:, 1 : longest + 1] = survival + total",
        "value[:, 1 : longest + 1] = table + total",
        "test_search_is_exact",
    ),
    _fault(
        "blocks longer than the shortest state",
        VITERBI,
        "block = sum(shortest)\n",
        "block = sum(shortest) + 3\n",
        "test_search_is_exact",
    ),
    _fault(
        "test person in training",
        MODEL,
        "    if both:\n",
        "    if False:\n",
        "test_a_person_in_training_and_test_is_refused",
    ),
    _fault(
        "test recordings are learned from",
        MODEL,
        "        train = split.train\n",
        "        train = np.concatenate([split.train, split.test])\n",
        "test_test_recordings_teach_nothing",
    ),
    _fault(
        "unannotated frames are learned from",
        MODEL,
        "y = np.concatenate([s[s >= 0] for s in states])",
        "y = np.concatenate([np.abs(s[s >= -1]) for s in states])",
        "test_unannotated_frames_teach_nothing",
    ),
    _fault(
        "the prior is left in the emission",
        SEARCH,
        "logits - np.log(sums) - self.prior)",
        "logits - np.log(sums))",
        "test_regression_is_scikit_learns",
    ),
    _fault(
        "systole is not shortened by S1",
        SEARCH,
        "spreads.offset - s1, 0.06)",
        "spreads.offset, 0.06)",
        "test_durations_are_what_the_timing_says",
    ),
    _fault(
        "flat recordings pass",
        ENVELOPES,
        "if float(np.ptp(samples)) == 0:",
        "if False:",
        "test_recordings_without_a_heart_are_refused",
    ),
    _fault(
        "short recordings pass",
        ENVELOPES,
        "if len(samples) < SHORTEST * rate:",
        "if False:",
        "test_recordings_without_a_heart_are_refused",
    ),
    _fault(
        "spikes stay",
        ENVELOPES,
        "row[first:last] = 0.0",
        "row[first:first] = 0.0",
        "test_spikes_go_and_the_rest_stays",
    ),
    _fault(
        "the band-pass delays",
        ENVELOPES,
        "return np.asarray(sosfiltfilt(sections,",
        "from scipy.signal import sosfilt\n    return np.asarray(sosfilt(sections,",
        "test_band_pass_keeps_the_band_in_place",
    ),
    _fault(
        "homomorphic without the logarithm",
        ENVELOPES,
        "np.exp(sosfiltfilt(smooth, np.log(np.maximum(size, floor))))",
        "sosfiltfilt(smooth, np.maximum(size, floor))",
        "test_homomorphic_is_geometric_where_hilbert_is_not",
    ),
    Fault(
        "hsmm: the head of the wavelet rate reads another envelope",
        "etab/heads/states/heads.py",
        "    beat: ClassVar[str] = WAVELET\n",
        "    beat: ClassVar[str] = HOMOMORPHIC\n",
        (f"{TESTS}::test_the_head_reads_the_wavelet_envelope",),
    ),
    Fault(
        "hsmm: layers are segmented with the homomorphic rate whatever the head",
        BEATS,
        "beat_envelope(self.envelopes[i], self.beat)",
        "beat_envelope(self.envelopes[i])",
        (f"{TESTS}::test_the_head_reads_the_wavelet_envelope",),
    ),
    _fault(
        "the model reads the homomorphic envelope whatever it is told",
        BEATS,
        "beat_envelope(self.envelopes[i], self.beat)",
        "beat_envelope(self.envelopes[i])",
        "test_the_head_reads_the_wavelet_envelope",
    ),
    _fault(
        "the wavelet envelope is another column",
        SEARCH,
        "np.asarray(envelopes[:, column], dtype=np.float64)",
        "np.asarray(envelopes[:, 0], dtype=np.float64)",
        "test_the_wavelet_envelope_gives_the_rate_under_a_rumble",
    ),
    Fault(
        "hsmm: the control of the wavelet rate reads another envelope",
        "etab/backbones/sound/records.py",
        "    beat: ClassVar[str] = WAVELET\n",
        "    beat: ClassVar[str] = HOMOMORPHIC\n",
        (
            "tests/heads/test_states_unet.py::"
            "test_the_control_with_the_wavelet_rate_reads_the_wavelet_envelope",
        ),
    ),
    _fault(
        "another wavelet",
        ENVELOPES,
        "for _ in range(9):",
        "for _ in range(7):",
        "test_wavelet_has_nine_vanishing_moments_and_its_octave",
    ),
    Fault(
        "hsmm: wrong periods teach durations",
        BEATS,
        "if abs(period - timing.period) >= _RIGHT * period:",
        "if False:",
        ("tests/heads/test_beats.py::test_durations_are_measured_where_the_timing_is_right",),
    ),
    Fault(
        "hsmm: recordings take the states of one another",
        BEATS,
        "zip(batch, paths, strict=True)",
        "zip(emissions, paths)",
        ("tests/heads/test_beats.py::test_recordings_are_searched_together_as_each_alone",),
    ),
    Fault(
        "hsmm: beats are read anew for each repeat",
        "etab/heads/states/heads.py",
        "if memo is None:\n            return {}",
        "if True:\n            return {}",
        ("tests/heads/test_beats.py::test_a_beat_is_read_once_for_all_splits_and_repeats",),
    ),
]
