"""Faults of backbones of users: what a function receives, what it returns, names of packages."""

from tests.faults import Fault

_FUNCTION = "etab/backbones/own/function.py"
_OUTPUT = "etab/backbones/own/output.py"


def _tests(name: str) -> tuple[str, ...]:
    return (f"tests/backbones/test_function.py::{name}",)


FAULTS = [
    Fault(
        "own: rows that are missing pass",
        _OUTPUT,
        "if shape[0] != n:",
        "if False:",
        _tests("test_what_is_no_output_is_refused_at_once"),
    ),
    Fault(
        "own: NaN is stored",
        _OUTPUT,
        "if not bool(torch.isfinite(numbers).all()):",
        "if False:",
        _tests("test_values_that_are_not_finite_are_refused"),
    ),
    Fault(
        "own: rows that depend on their batch or on chance pass",
        _OUTPUT,
        "if difference > _ROUNDING * largest:",
        "if False:",
        _tests("test_clips_and_sounds_that_mix_rows_are_refused_too"),
    ),
    Fault(
        "own: a label beside vectors is a feature",
        "etab/backbones/own/vectors.py",
        "if numbers and layers:",
        "if False:",
        ("tests/runs/test_vectors.py::test_files_that_would_give_other_vectors_are_refused",),
    ),
    Fault(
        "own: a folder of one class is one patient",
        "etab/datasets/own/guess.py",
        "if level not in (splits, classes)]",
        "]",
        ("tests/datasets/test_draft.py::test_folders_of_classes_are_classes_and_not_patients",),
    ),
    Fault(
        "own: masks are recordings",
        "etab/datasets/own/guess.py",
        "return [name for name in names if name not in taken], masks",
        "return list(names), masks",
        ("tests/datasets/test_draft.py::test_masks_are_no_recordings",),
    ),
    Fault(
        "own: batches of another width pass",
        _OUTPUT,
        "if shapes != self._first:",
        "if False:",
        _tests("test_widths_that_differ_between_batches_are_refused"),
    ),
    Fault(
        "own: the layout of clips is ignored",
        _FUNCTION,
        'if self.kind.layout == "TCHW":',
        'if self.kind.layout == "CTHW":',
        _tests("test_clips_are_what_is_documented"),
    ),
    Fault(
        "own: the input is no part of the identity",
        _FUNCTION,
        'f"{content} {kind!r}"',
        'f"{content}"',
        _tests("test_functions_are_told_apart_by_content_version_and_input"),
    ),
    Fault(
        "own: parts of a recording follow each other without their start",
        "etab/backbones/sound/parts.py",
        "moments = start + centres",
        "moments = centres",
        _tests("test_steps_of_a_recording_have_their_true_times"),
    ),
    Fault(
        "own: the rate of a clip is ignored",
        "etab/backbones/video/contract.py",
        "if self.fps is None:",
        "if True:",
        _tests("test_a_clip_of_a_rate_needs_the_rate_of_the_recording"),
    ),
    Fault(
        "own: the first of two packages wins",
        "etab/backbones/own/installed.py",
        "if len(packages) > 1:",
        "if False:",
        ("tests/backbones/test_installed.py::test_two_packages_with_one_name_are_refused",),
    ),
    Fault(
        "hub: MAE shuffles its patches",
        "etab/backbones/hub/pictures.py",
        'if self.kind != "vit_mae":',
        "if True:",
        ("tests/backbones/test_hub.py::test_tokens_lie_where_their_patches_are",),
    ),
    Fault(
        "hub: the tokens of TimeSformer are taken for frames",
        "etab/backbones/hub/clips.py",
        'if self.order == "hwt":',
        "if False:",
        ("tests/backbones/test_hub.py::test_steps_of_clips_lie_where_their_frames_are",),
    ),
    Fault(
        "hub: the filling of a window is pooled",
        "etab/backbones/hub/sounds.py",
        "self.steps.split(state)[:, :count]",
        "self.steps.split(state)",
        ("tests/backbones/test_hub.py::test_the_filling_of_a_window_is_no_part_of_its_features",),
    ),
    Fault(
        "hub: SEW runs at twice its speed",
        "etab/backbones/sound/open.py",
        "(hop * squeeze, first)",
        "(hop, first)",
        ("tests/backbones/test_hub.py::test_steps_of_sound_lie_where_the_sound_is",),
    ),
    Fault(
        "hub: tensors that are missing stay random",
        "etab/backbones/hub/card.py",
        "    if missing:\n        shown",
        "    if False:\n        shown",
        ("tests/backbones/test_hub.py::test_weights_that_are_not_in_the_file_are_refused",),
    ),
    Fault(
        "hub: ViViT is not shifted",
        "etab/backbones/hub/card.py",
        'described.kind == "vivit") else 0.0',
        "False) else 0.0",
        ("tests/backbones/test_hub.py::test_clips_reach_the_model_as_its_processor_makes_them",),
    ),
    Fault(
        "hub: the filter of the processor is ignored",
        "etab/backbones/hub/card.py",
        'getattr(processor, "resample", None)',
        "None",
        ("tests/backbones/test_hub.py::test_numbers_after_the_name",),
    ),
    Fault(
        "vectors: keys that occur twice pass",
        "etab/backbones/own/vectors.py",
        "    if twice:",
        "    if False:",
        ("tests/runs/test_vectors.py::test_bad_vectors_are_named",),
    ),
    Fault(
        "vectors: NaN passes",
        "etab/backbones/own/vectors.py",
        "    if len(broken):",
        "    if False:",
        ("tests/runs/test_vectors.py::test_bad_vectors_are_named",),
    ),
    Fault(
        "vectors: keys of nobody pass",
        "etab/features/supplied.py",
        "    if extra:",
        "    if False:",
        ("tests/runs/test_vectors.py::test_missing_and_extra_keys_are_named",),
    ),
    Fault(
        "vectors: the order of the file is taken for the order of the data",
        "etab/features/supplied.py",
        "return [vectors.rows[name] for name in names]",
        "return list(range(len(names)))",
        ("tests/runs/test_vectors.py::test_every_form_gives_the_same_score_in_any_order",),
    ),
    Fault(
        "hub: a timm model of the hub is run at 224 px",
        "etab/backbones/image/open.py",
        "config = _hub_config(name)",
        "config = {}",
        ("tests/backbones/test_taps.py::test_a_model_of_the_hub_has_its_own_size",),
    ),
    Fault(
        "vectors: a dictionary of keys is read in its order",
        "etab/backbones/own/vectors.py",
        "return content if isinstance(content, list) else None",
        "return list(content)",
        ("tests/runs/test_vectors.py::test_files_that_would_give_other_vectors_are_refused",),
    ),
    Fault(
        "vectors: keys of no dataset pass",
        "etab/features/supplied.py",
        "[] if slash and owner.casefold() != dataset else [key]",
        "[]",
        ("tests/runs/test_vectors.py::test_keys_of_nobody_are_named",),
    ),
    Fault(
        "own: copies of another patient's recording stay with --skip-bad",
        "etab/runs/data.py",
        "leave_copies_out(source, pairs)",
        "pass",
        ("tests/datasets/test_own_data.py::test_skip_bad_leaves_copies_of_another_patient_out",),
    ),
    Fault(
        "own: a changed table counts as other code of a source",
        "etab/datasets/own/source.py",
        '"__module__": __name__,',
        "",
        ("tests/datasets/test_own_data.py",),
    ),
    Fault(
        "own: an absent label names the command of a dataset of etab",
        "etab/datasets/own/source.py",
        'return f"etab data check {self.description.path}"',
        "return super().check_command()",
        ("tests/datasets/test_own_data.py",),
    ),
]
