"""Faults of the heart-sound part: leaks between patients and copies, official scores, windows, entries."""

from tests.faults import Fault

SOUNDS, BAD, ENTRIES, METRICS = (f"tests/test_sounds{part}.py" for part in ("", "_bad", "_entries", "_metrics"))
CIRCOR, CINC, LAYOUT = "etab/datasets/circor.py", "etab/datasets/cinc2016.py", "etab/datasets/cinc2016_layout.py"
SCORES, WAVES, WINDOW, READER = (
    "etab/metrics_sound.py",
    "etab/waves.py",
    "etab/datasets/sound.py",
    "etab/readers/audio.py",
)
ENTRY, PHANTOM, TREES = "etab/entries.py", "etab/phantom/sounds.py", "etab/phantom/sound_trees.py"


def _fault(name: str, file: str, old: str, new: str, test: str, what: str) -> Fault:
    return Fault(f"sounds: {name}", file, old, new, (f"{test}::{what}",))


FAULTS = [
    _fault("same person in two folds", CIRCOR, "        home[high] = low\n", "", SOUNDS,
           "test_one_person_is_never_in_two_folds"),
    _fault("chains of Additional ID are cut", CIRCOR, "while home.get(name, name) != name:",
           "if home.get(name, name) != name:", SOUNDS, "test_persons_join_chains_in_any_order"),
    _fault("validation copies in training", CINC, "for name, row in copies.items() if name not in rows}",
           'for name, row in copies.items()} | {n + "v": r for n, r in rows.items() if n in copies}', SOUNDS,
           "test_no_recording_is_listed_twice"),
    _fault("withdrawn recordings stay", CINC, "gone = self._withdrawn(", "gone = set() and self._withdrawn(", SOUNDS,
           "test_withdrawn_recordings_are_left_out_and_said"),
    _fault("unknown patients pass in silence", CINC, "            warnings.warn(f", "            str(f", SOUNDS,
           "test_without_the_appendix_it_is_said_aloud"),
    _fault("cohorts of e collide", LAYOUT, "original.lower().startswith('e')", "True", SOUNDS,
           "test_cinc2016_patients_by_the_names_of_the_appendix"),
    _fault("a byte-order mark hides the appendix", LAYOUT, 'encoding="utf-8-sig"', 'encoding="utf-8"', SOUNDS,
           "test_cinc2016_facts"),
    _fault("murmur heard everywhere", CIRCOR, 'record.view in record.meta["murmur_locations"]', 'murmur == "Present"', SOUNDS,
           "test_circor_facts"),
    _fault("resampling without a filter", WAVES, "ratio = Fraction(wanted, rate)\n",
           "return samples[:: max(1, rate // wanted)]\n    ratio = Fraction(wanted, rate)\n", SOUNDS, "test_resampling_lets_no_alias_through"),
    _fault("states of another window", WINDOW, "cut_states(states, first, k)", "cut_states(states, 0, k)", SOUNDS,
           "test_states_go_with_the_window"),
    _fault("a repeated beat counts twice", WAVES,
           "np.pad(there, (0, k - len(there)), constant_values=UNANNOTATED)", "states[(start + np.arange(k)) % len(states)]",
           SOUNDS, "test_states_go_with_the_window"),
    _fault("clip_l ignored", WINDOW, "n = self.options.clip_l or SECONDS * rate", "n = SECONDS * rate", SOUNDS,
           "test_waveforms"),
    _fault("padding ignored", WINDOW, "padding=self.options.padding)", "padding=False)", SOUNDS,
           "test_a_short_recording_is_repeated_or_padded"),
    _fault("heart rate across gaps", WAVES, "if joined and [", "if [", SOUNDS, "test_heart_rate_takes_whole_cycles_only"),
    _fault("the phantom has one stethoscope", PHANTOM, "heard = np.fft.irfft(np.fft.rfft(sound) * gain, n)", "heard = sound",
           SOUNDS, "test_the_stethoscope_gives_the_database_away"),
    _fault("the mark is left out of the recordings", TREES, 'MARK = "phantom"', 'MARK = "made up"', SOUNDS,
           "test_the_mark_is_in_every_recording"),
    _fault("short recordings pass", READER, "if promised > there:", "if False:", BAD, "test_truncated_wav"),
    _fault("stereo passes", READER, "if channels != 1:", "if False:", BAD, "test_wav_of_the_wrong_sort"),
    _fault("NaN passes", READER, "if not np.isfinite(samples).all():", "if False:", BAD, "test_not_a_number"),
    _fault("headers are not compared", READER, "        if said != found:", "        if False:", BAD,
           "test_header_and_audio_disagree"),
    _fault("overlapping states pass", WAVES, "if two[0] < one[1] - OVERLAP_LIMIT:", "if False:", BAD,
           "test_states_of_circor"),
    _fault("labels of unknown patients pass", CIRCOR, "        if unknown:\n", "        if False:\n", BAD,
           "test_table_with_labels_for_unknown_patients"),
    _fault("a cut appendix withdraws everybody", CINC, "if len(gone) > WITHDRAWN:", "if False:", BAD,
           "test_an_appendix_that_lost_its_rows_withdraws_nobody"),
    _fault("unsure is right on clean records", SCORES, "hits = (right[strata[0]],",
           "hits = (right[strata[0]] | unsure[strata[0]],", METRICS, "test_official_rule_has_the_published_values"),
    _fault("the weights are not an argument", SCORES, "shares_2016(truth, clean) if weights is None else weights",
           "shares_2016(truth, clean)", METRICS, "test_weights_are_an_argument_and_empty_strata_are_dropped"),
    _fault("costs are of the murmur, not the outcome", SCORES, "cost_2022(sick, ~murmur_chosen[:, 2])",
           "cost_2022(murmur[:, 0], ~murmur_chosen[:, 2])", METRICS, "test_perfect_answers_on_942"),
    _fault("a cubic term in the expert's cost", SCORES, "1718 * share**2", "1718 * share**3", METRICS,
           "test_perfect_answers_on_942"),
    _fault("rows and columns of the confusion swapped", SCORES, "counts = confusion(labels, outputs) *",
           "counts = confusion(outputs, labels) *", METRICS, "test_constant_answers_to_1e9_by_hand"),
    _fault("several classes at once pass", SCORES, "odd = out.sum(axis=1) != 1", "odd = out.sum(axis=1) < 1", METRICS,
           "test_positives_are_enforced"),
    _fault("the tolerance is compared in frames cut short", SCORES, "np.abs(true[:, None] - mine[None, :]) <= reach",
           "np.abs(true[:, None] - mine[None, :]) < reach", METRICS, "test_tolerances_are_whole_frames"),
    _fault("the sound's name is not compared", SCORES, "mine = found[found[:, 0] == sound]",
           "mine = found[np.isin(found[:, 0], (0, 2))]", METRICS, "test_state_must_agree_and_centres_are_halves"),
    _fault("unannotated frames are scored", SCORES, "there = truth >= 0", "there = truth >= -1", METRICS,
           "test_only_annotated_frames_count"),
    _fault("missing answers are dropped", ENTRY, '"without an answer": sorted(set(labels) - set(given)),',
           '"without an answer": [],', ENTRIES, "test_answers_are_refused_whole"),
    _fault("unknown patients are dropped", ENTRY, "unknown to {labels}\": sorted(set(files) - set(patients))",
           "unknown to {labels}\": []", ENTRIES, "test_missing_and_unknown_patients"),
    _fault("a score that is no number is read as 0", ENTRY, "        value = math.nan\n", "        value = 0.0\n", ENTRIES,
           "test_outputs_are_refused"),
]  # fmt: skip
