"""Faults of the first commands that a user runs, and of tables of one's own."""

from tests.faults import Fault

FIRST = "tests/cli/test_first_use.py"
OWN = "tests/datasets/test_own_data.py"
TABLE = "etab/datasets/own/table.py"

FAULTS = [
    Fault(
        "a seed is checked when the features are computed",
        "etab/runs/run.py",
        '    seed = whole_number("seed", seed, 0, LARGEST_WHOLE)\n',
        "",
        ("tests/test_options.py", "-k", "of_evaluate"),
    ),
    Fault(
        "True counts as a whole number",
        "etab/options.py",
        "    if not isinstance(value, bool):\n        with",
        "    if True:\n        with",
        ("tests/datasets/test_bad_echo_trees.py", "-k", "more_recordings"),
    ),
    Fault(
        "a clip has any number of frames",
        "etab/datasets/options.py",
        "    return _MAX_CLIP_BYTES // (3 * 4 * rows * columns)\n",
        "    return 10**12\n",
        ("tests/test_options.py", "-k", "of_a_dataset"),
    ),
    Fault(
        "a file in place of the results is told late",
        "etab/api.py",
        "        require_writable(settings.results)\n",
        "",
        ("tests/test_options.py", "-k", "in_place_of_the_results"),
    ),
    Fault(
        "a run shows only what it computed anew",
        "etab/cli/run.py",
        "sorted([*done.before, *done.ran], key=cell_order)",
        "sorted([*done.ran], key=cell_order)",
        (f"{FIRST}::test_a_run_ends_with_its_values",),
    ),
    Fault(
        "a table of cells believes the files",
        "etab/leaderboard/plain.py",
        "        table = checked_predictions(result, task, folder, is_ranked=False)\n",
        "        table = result.predictions(folder)\n",
        (f"{FIRST}::test_a_number_that_was_changed_is_left_out_of_the_table",),
    ),
    Fault(
        "a table of cells believes intervals",
        "etab/leaderboard/plain.py",
        "            if reasons:\n                problems",
        "            if False:\n                problems",
        (f"{FIRST}::test_a_number_that_was_changed_is_left_out_of_the_table",),
    ),
    Fault(
        "the list of results believes the files",
        "etab/cli/results.py",
        "        listed = checked_cells(files.results, results)\n",
        "        listed = FolderCells(tuple(sorted(files.results, key=cell_order)), ())\n",
        (f"{FIRST}::test_a_number_that_was_changed_is_left_out_of_the_table",),
    ),
    Fault(
        "a Git LFS pointer is taken for weights",
        "etab/readers/signatures.py",
        "    if start.startswith(LFS):\n        return",
        "    if False:\n        return",
        (f"{FIRST}::test_a_file_that_holds_no_weights_is_called_what_it_is",),
    ),
    Fault(
        "damaged bytes are taken for a pickle that runs code",
        "etab/backbones/weights/index.py",
        "        if not is_pickle(path):\n",
        "        if False:\n",
        (f"{FIRST}::test_a_file_that_holds_no_weights_is_called_what_it_is",),
    ),
    Fault(
        "the border of a letterbox enters the maps",
        "etab/features/fit.py",
        "    first = max(0, int(np.ceil(start * cells - 0.5)))\n",
        "    first = max(0, int(np.ceil(start * cells - 0.5)) - 1)\n",
        ("tests/features/test_fit.py::test_the_border_of_a_letterbox_never_enters_a_map",),
    ),
    Fault(
        "maps of a letterbox are not mapped back",
        "etab/features/frames.py",
        "wrapped = prepared if card.fit == SQUASH else OnFrames(prepared, reading.boxes())",
        "wrapped = prepared",
        (
            "tests/features/test_fit.py"
            "::test_features_of_frames_of_several_shapes_lie_on_each_frame",
        ),
    ),
    Fault(
        "a size is no part of the name of a backbone",
        "etab/backbones/sizes.py",
        '        name=f"{card.name}{suffix}",\n',
        "        name=card.name,\n",
        (
            "tests/backbones/test_sizes.py"
            "::test_size_and_fit_stand_in_the_name_and_in_that_of_the_twin",
        ),
    ),
    Fault(
        "a missing prefix is not suggested",
        "etab/backbones/suggest.py",
        "    suggested += _of_libraries(base)\n",
        "",
        (f"{FIRST}::test_a_wrong_name_gets_a_short_suggestion",),
    ),
    Fault(
        "a recording that is listed twice counts twice",
        TABLE,
        "    checks = (\n        duplicates,\n",
        "    checks = (\n",
        (f"{OWN}::test_a_row_that_does_not_fit_is_explained",),
    ),
    Fault(
        "a patient in two parts of the split is taken",
        TABLE,
        "        duplicates,\n        split_patients,\n",
        "        duplicates,\n",
        (f"{OWN}::test_a_row_that_does_not_fit_is_explained",),
    ),
    Fault(
        "rows that do not fit are dropped silently",
        "etab/datasets/own/source.py",
        "if table.problems and self.faults is None:",
        "if False:",
        (f"{OWN}::test_a_row_that_does_not_fit_is_explained",),
    ),
    Fault(
        "a changed label leaves the digest as it was",
        "etab/datasets/own/source.py",
        "repr(row.spacing), repr(sorted(row.values.items())))",
        "repr(row.spacing), '')",
        (f"{OWN}::test_a_changed_table_is_other_data",),
    ),
    Fault(
        "an archive of several disks ends in zipfile",
        "etab/backbones/weights/recognise.py",
        "    except _DAMAGED_ZIP:  # the archive claims to span several disks\n        return False\n",
        "    except OSError:\n        return False\n",
        ("tests/cli/test_first_use.py::test_an_archive_that_claims_several_disks_is_damaged",),
    ),
    Fault(
        "a file of zeros is digested before it is looked at",
        "etab/backbones/weights/recognise.py",
        "    if begins_with_zeros:\n",
        "    if begins_with_zeros and not absent:\n",
        (
            "tests/backbones/test_weights_fit.py::test_a_file_of_zeros_is_refused_before_it_is_digested",
        ),
    ),
]
