"""Faults of the 2022 names, of fine-tuning and of the command."""

from tests.faults import Fault

_SCRIPT = ("tests/legacy/test_run_benchmark.py",)
FAULTS = [
    Fault(
        "fit ignores the optimizer",
        "etab/legacy/models.py",
        "optimizer=optimizer,",
        'optimizer="adamw",',
        ("tests/legacy/test_models.py::test_options_of_training_act",),
    ),
    Fault(
        "fit ignores accumulation",
        "etab/legacy/models.py",
        "accumulate=accumulate)",
        "accumulate=1)",
        ("tests/legacy/test_models.py::test_options_of_training_act",),
    ),
    Fault(
        "augmentation of a frozen backbone is dropped",
        "etab/finetuning/fitting.py",
        'if augment == "none" or not network.training:',
        'if augment == "none" or not network.training or network.frozen:',
        ("tests/legacy/test_models.py::test_options_of_training_act",),
    ),
    Fault(
        "colours are augmented as if grey",
        "etab/finetuning/examples.py",
        "        if not torch.allclose(grey.expand_as(clips), clips, atol=1e-3):\n",
        "        if False:\n",
        ("tests/legacy/test_models.py::test_options_of_training_that_cannot_act_are_refused",),
    ),
    Fault(
        "frozen backbone keeps training statistics",
        "etab/finetuning/network.py",
        "        for module in self.frozen_modules:\n            module.eval()\n",
        "",
        (
            "tests/legacy/test_models.py::test_a_frozen_backbone_does_not_move_and_an_unfrozen_one_does",
        ),
    ),
    Fault(
        "freezing leaves gradients",
        "etab/finetuning/body.py",
        "        body.requires_grad_(False)\n        return [body]",
        "        return [body]",
        (
            "tests/legacy/test_models.py::test_a_frozen_backbone_does_not_move_and_an_unfrozen_one_does",
        ),
    ),
    Fault(
        "unfreezing trains nothing",
        "etab/finetuning/body.py",
        "        body.requires_grad_(True)\n",
        "        body.requires_grad_(False)\n",
        (
            "tests/legacy/test_models.py::test_a_frozen_backbone_does_not_move_and_an_unfrozen_one_does",
        ),
    ),
    Fault(
        "fine-tuning touches the user's module",
        "etab/finetuning/body.py",
        "copied = copy.deepcopy(backbone.network)",
        "copied = backbone.network",
        ("tests/legacy/test_models.py::test_own_modules_and_own_weights",),
    ),
    Fault(
        "normalisation is not undone",
        "etab/legacy/examples.py",
        "    if not normalized:\n        return frames.float()\n",
        "    return frames.float()\n",
        ("tests/legacy/test_models.py::test_normalisation_is_undone_whatever_the_loader_did",),
    ),
    Fault(
        "a part of a block stands for a stage",
        "etab/backbones/image/networks.py",
        'if earlier is None or stage[0].count(".") <= earlier[0].count("."):',
        "if True:",
        ("tests/legacy/test_models.py::test_whole_stages_are_tapped",),
    ),
    Fault(
        "evaluation counts frames, not patients",
        "etab/legacy/evaluate.py",
        "rows.patients if isinstance(rows, Items) else [str(i)",
        "rows.ids if isinstance(rows, Items) else [str(i)",
        (
            "tests/legacy/test_evaluate.py::test_evaluate_counts_patients_and_refuses_what_does_not_exist",
        ),
    ),
    Fault(
        "UniFormer falls through",
        "etab/legacy/names.py",
        "    if family is not None:",
        "    if False:",
        ("tests/legacy/test_names.py::test_families_that_are_gone_are_refused_with_the_nearest",),
    ),
    Fault(
        "old codes take the wrong target",
        "etab/legacy/names.py",
        '"LV_seg", "MY_seg", "LA_seg", "EF"',
        '"LV_seg", "LA_seg", "MY_seg", "EF"',
        ("tests/legacy/test_names.py::test_old_codes_are_the_tasks_they_mean",),
    ),
    Fault(
        "weights of tasks do not act",
        "etab/legacy/score.py",
        "+ weight / len(codes) / total",
        "+ 1 / len(codes) / len(asked)",
        ("tests/legacy/test_score.py::test_the_score_is_a_pair_and_its_parts_add_up",),
    ),
    Fault(
        "weights of the user are not loaded",
        "etab/legacy/score.py",
        "        load_weights(backbone.network, module.state_dict(), name)\n",
        "",
        (
            "tests/legacy/test_score.py::test_trained_heads_score_too_and_the_users_weights_are_what_is_scored",
        ),
    ),
    Fault(
        "partial weights are loaded",
        "etab/legacy/user_backbones.py",
        "    if lost:\n",
        "    if False:\n",
        ("tests/legacy/test_models.py::test_own_modules_and_own_weights",),
    ),
    Fault(
        "the interval is of the normal law",
        "etab/legacy/task_scores.py",
        "stats.t.ppf(0.975, len(values) - 1)",
        "stats.norm.ppf(0.975)",
        ("tests/legacy/test_score.py::test_the_interval_is_students_t_over_folds",),
    ),
    Fault(
        "switching the task makes a new backbone",
        "etab/legacy/benchmark.py",
        '        default = "SegFormer" if self._sort',
        "        self.model.backbone.apply(lambda m: m.reset_parameters() if hasattr(m, 'reset_parameters') else None)\n"
        '        default = "SegFormer" if self._sort',
        _SCRIPT,
    ),
    Fault(
        "a switch that failed stays half done",
        "etab/legacy/benchmark.py",
        "            vars(self).update(before)\n",
        "            vars(self).update(before | options)\n",
        (
            "tests/legacy/test_benchmark.py::test_a_switch_that_fails_leaves_the_benchmark_as_it_was",
        ),
    ),
    Fault(
        "a head that cannot be fed turns the model's task",
        "etab/legacy/models.py",
        "            self.task, self.head_name, self.num_classes, self.frames = before\n",
        "",
        ("tests/legacy/test_models.py::test_a_head_that_cannot_be_fed_leaves_the_model_as_it_was",),
    ),
    Fault("False is true", "run_benchmark.py", "return word in _YES", "return bool(word)", _SCRIPT),
    Fault(
        "checkpoints of two heads mix",
        "etab/legacy/models.py",
        "/ self._training_name(sets)",
        "/ 'one'",
        ("tests/legacy/test_models.py::test_checkpoints_go_on_and_never_mix",),
    ),
]
