"""Faults of the layers over time and of the probe of frames: time, lengths, leaks, who is told what."""

from tests.faults import Fault

TESTS, SERIES, PROBE, NETS = (
    "tests/features/test_recordings.py",
    "etab/features/recordings.py",
    "etab/heads/states/emissions.py",
    "etab/backbones/sound/networks.py",
)


def _fault(name: str, file: str, old: str, new: str, test: str) -> Fault:
    return Fault(f"series: {name}", file, old, new, (f"{TESTS}::{test}",))


FAULTS = [
    _fault(
        "the receptive offset is forgotten",
        NETS,
        '"pool3": (640, 11.5 * 160 + 256 - _LEAD)',
        '"pool3": (640, 0.0)',
        "test_a_click_is_where_it_was",
    ),
    _fault(
        "a chunk counts at its start of another length",
        NETS,
        "(CHUNK, CHUNK / 2)",
        "(CHUNK + 64, CHUNK / 2)",
        "test_a_click_is_where_it_was",
    ),
    _fault(
        "parts of the LSTM are laid end to end",
        NETS,
        "states[:, i, self.PART - self.STEP :]",
        "states[:, i]",
        "test_a_click_is_where_it_was",
    ),
    _fault(
        "tiles are laid side by side",
        SERIES,
        "centres = start + middle",
        "centres = i * size + middle",
        "test_tiles_cover_a_recording_and_meet_in_the_middle",
    ),
    _fault(
        "the nearest step before",
        SERIES,
        "x[low] * (1 - part) + x[high] * part)",
        "x[low])",
        "test_steps_are_put_between_states",
    ),
    _fault(
        "loudness is left in",
        SERIES,
        "levelled(x).astype(np.float16)",
        "np.clip(x, -6e4, 6e4).astype(np.float16)",
        "test_a_series_is_levelled",
    ),
    _fault(
        "a frame too few",
        SERIES,
        "return math.ceil(n * STATE_RATE / rate - 1e-9)",
        "return int(n * STATE_RATE / rate)",
        "test_a_series_is_as_long_as_the_states",
    ),
    _fault(
        "a projection drawn anew",
        SERIES,
        "np.random.default_rng([d, WIDTH])",
        "np.random.default_rng()",
        "test_a_projection_keeps_distances",
    ),
    _fault(
        "damage on disk is not seen",
        "etab/features/entries.py",
        "if checksum(folder / name) != wanted:",
        "if False:",
        "test_series_are_kept_and_read_back",
    ),
    _fault(
        "slices of another recording",
        "etab/features/series_files.py",
        "whole[end - k : end]",
        "whole[:k]",
        "test_series_are_kept_and_read_back",
    ),
    _fault(
        "a layer is chosen by probes that know test people",
        PROBE,
        "fit_emissions(frames.of(rest, SEARCH_STEP), EMISSION_PENALTIES",
        "fit_emissions(frames.of(np.union1d(rest, split.test), SEARCH_STEP), EMISSION_PENALTIES",
        "test_test_people_teach_nothing",
    ),
    _fault(
        "test people are learned from",
        PROBE,
        "probe = fit_emissions(frames.of(split.train), (penalty,))[0]",
        "probe = fit_emissions(frames, (penalty,))[0]",
        "test_test_people_teach_nothing",
    ),
    _fault(
        "inner parts are fitted",
        PROBE,
        "rest = np.setdiff1d(split.train, part)",
        "rest = split.train",
        "test_inner_parts_are_not_fitted_when_they_are_scored",
    ),
    _fault(
        "the layer is chosen on test",
        PROBE,
        "frames.of(part, SEARCH_STEP)",
        "frames.of(split.test, SEARCH_STEP)",
        "test_inner_parts_are_not_fitted_when_they_are_scored",
    ),
    _fault(
        "people in two parts pass",
        PROBE,
        "        refuse_shared_people(patients, split)\n",
        "        pass\n",
        "test_a_person_in_training_and_test_is_refused",
    ),
    _fault(
        "the first layer is taken",
        PROBE,
        "int(of_split.argmin())",
        "0",
        "test_it_segments_people_it_never_heard_and_chooses_the_layer",
    ),
    _fault(
        "emissions keep the prior",
        PROBE,
        "_log_softmax(logits) - self.prior",
        "_log_softmax(logits)",
        "test_a_constant_is_left_with_the_durations",
    ),
    Fault(
        "series: only the last part of the frames is learned from",
        "etab/heads/pooled/linalg.py",
        "slope += residual.transpose(1, 0, 2) @ z[part]",
        "slope = residual.transpose(1, 0, 2) @ z[part]",
        (
            "tests/heads/test_emissions.py::"
            "test_frames_that_are_computed_in_parts_give_what_they_give_together",
        ),
    ),
    _fault(
        "unannotated frames teach",
        PROBE,
        "np.flatnonzero(answer >= 0)[::every]",
        "np.arange(len(answer))[::every]",
        "test_frames_are_thinned_and_unannotated_ones_left_out",
    ),
    _fault(
        "series and windows share features",
        "etab/runs/execute.py",
        "            layered(run.row, run.backbone_card),\n        )",
        "            False,\n        )",
        "test_tasks_of_one_backbone_keep_their_own_features",
    ),
    _fault(
        "a summary is asked for states",
        "etab/runs/run.py",
        "if head.needs_series and not card.over_time:",
        "if False:",
        "test_what_has_no_time_is_refused",
    ),
    Fault(
        "series: a series is guessed from the numbers of a map",
        "etab/heads/sequences/heads.py",
        "if features.sequences or features.series is None:",
        "if features.maps:\n        return dict(series=features.maps[0])\n    if features.sequences:",
        ("tests/heads/test_states_unet.py::test_a_series_is_a_field_and_no_map",),
    ),
    _fault(
        "a stopped series begins again",
        "etab/features/recordings.py",
        "        shards=None if is_constant else shards,\n",
        "        shards=None,\n",
        "test_a_stopped_series_goes_on_after_the_last_whole_shard",
    ),
    _fault(
        "damaged shards of a series are joined",
        "etab/features/shards.py",
        "if entry_damage(self._shard(*rows))]",
        "if False]",
        "test_a_stopped_series_goes_on_after_the_last_whole_shard",
    ),
    _fault(
        "shards of a series are joined whatever their layers",
        "etab/features/series_files.py",
        '        if entry["series"] != series:\n',
        "        if False:\n",
        "test_shards_with_other_layers_are_refused",
    ),
    Fault(
        "series: training frames are put in the basis without their mean taken off",
        PROBE,
        "np.matmul(stacked[part] - shift, turn",
        "np.matmul(stacked[part], turn",
        (
            "tests/heads/test_emissions.py::"
            "test_training_frames_come_in_the_basis_that_was_fitted_to_them",
        ),
    ),
    _fault(
        "a kept sound is given at another rate",
        "etab/features/kept_sounds.py",
        'get(record, f"{rate} Hz", resampled)',
        'get(record, "sound", resampled)',
        "test_sounds_of_several_backbones_are_resampled_once",
    ),
    _fault(
        "kept sounds grow without a limit",
        "etab/features/kept_sounds.py",
        "if self.size + array.nbytes <= BUDGET:",
        "if True:",
        "test_kept_sounds_stay_within_their_budget",
    ),
    Fault(
        "series: windows of a pooling are laid side by side",
        "etab/backbones/sound/music_networks.py",
        "x.unfold(dim, size, step)",
        "x.unfold(dim, size, size)",
        ("tests/backbones/test_sound.py::test_largest_values_are_those_of_max_pooling",),
    ),
    Fault(
        "series: a frame of a recording has itself for its neighbours",
        PROBE,
        "neighbours = np.clip(frames + step, 0, len(centred) - 1)",
        "neighbours = frames",
        ("tests/heads/test_emissions.py::test_a_recording_is_classified_as_its_frames_are",),
    ),
    Fault(
        "series: functions of the columns forget the mean of frames beside their neighbours",
        PROBE,
        "@ of_neighbours, -self.shift @ turned",
        "@ of_neighbours, 0 * (self.shift @ turned)",
        ("tests/heads/test_emissions.py::test_functions_of_the_columns_are_those_of_the_basis",),
    ),
    Fault(
        "series: a fifth state passes for a state",
        "etab/metrics/states.py",
        "(values < len(STATES))",
        "(values <= len(STATES))",
        ("tests/metrics/test_heart_states.py::test_values_that_are_no_states_are_refused",),
    ),
]
