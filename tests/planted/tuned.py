"""Faults of fine-tuning."""

from tests.faults import Fault


def _test(name: str) -> tuple[str]:
    return (f"tests/finetuning/test_cells.py::test_{name}",)


_MOVES = _test("augmentation_moves_frame_and_mask_alike_and_mirrors_nothing")
_PARTIAL = _test("partial_trains_the_last_blocks_alone")
FAULTS = [
    Fault(
        "partial trains everything",
        "etab/finetuning/body.py",
        "        parameter.requires_grad_(trainable)\n",
        "",
        _PARTIAL,
    ),
    Fault(
        "frozen blocks move their statistics",
        "etab/finetuning/network.py",
        "            module.eval()\n",
        "            pass\n",
        _PARTIAL,
    ),
    Fault(
        "masks stay where they are",
        "etab/finetuning/augment.py",
        "masks = None if masks is None else _move(masks, maps)",
        "pass",
        _MOVES,
    ),
    Fault(
        "augmentation mirrors",
        "etab/finetuning/augment.py",
        "    return torch.cat([turn, moved[:, :, None]], dim=2)",
        "    turn = turn * torch.tensor([-1.0, 1.0])\n    return torch.cat([turn, moved[:, :, None]], dim=2)",
        _MOVES,
    ),
    Fault(
        "noise outside the sector",
        "etab/finetuning/augment.py",
        "    return changed.clamp(0, 1)",
        "    return (changed + 0.02 * speckle.abs()).clamp(0, 1)",
        _test("augmentation_keeps_black_black"),
    ),
    Fault(
        "unknown masks count as empty",
        "etab/finetuning/examples.py",
        "masks, torch.nan)",
        "masks, 0.0)",
        _test("a_view_without_a_structure_is_unknown"),
    ),
    Fault(
        "the board predicts masks on the decoder's grid",
        "etab/finetuning/network.py",
        "finer=self.finer,",
        "finer=1,",
        _test("one_network_serves_the_board_and_2022"),
    ),
    Fault(
        "features of the board are rounded",
        "etab/finetuning/network.py",
        "if self.frozen and self.half_features:",
        "if self.frozen:",
        _test("one_network_serves_the_board_and_2022"),
    ),
    Fault(
        "masks that nobody drew are trained on",
        "etab/finetuning/network.py",
        "known = ~answers.isnan().flatten(2).any(dim=2)",
        "known = torch.ones(answers.shape[:2], dtype=torch.bool)",
        _test("structures_that_nobody_drew_do_not_count"),
    ),
    Fault(
        "a tuned protocol runs frozen",
        "etab/runs/run.py",
        "            if parse(self.protocol_name).tuning:\n",
        "            if False:\n",
        _test("a_frozen_run_refuses_a_tuned_protocol"),
    ),
    Fault(
        "tuning is not in the name",
        "etab/tasks/protocols.py",
        "        if self.tuning:\n            tuning = ",
        "        if False:\n            tuning = ",
        _test("protocols_with_tuning_have_codes_and_the_same_splits"),
    ),
    Fault(
        "other conditions are taken for the same",
        "etab/runs/record.py",
        "if before.get(name) != value]",
        "if False]",
        _test("finished_is_read_and_other_conditions_are_refused"),
    ),
    Fault(
        "a checkpoint of another training is taken up",
        "etab/training/loop.py",
        "{**asdict(self.recipe), **self.about}",
        "asdict(self.recipe)",
        _test("a_checkpoint_of_another_training_is_not_taken_up"),
    ),
    Fault(
        "sgd is ignored",
        "etab/training/loop.py",
        'if recipe.optimizer == "sgd":',
        "if False:",
        _test("recipes_act"),
    ),
    Fault(
        "bf16 is ignored",
        "etab/training/loop.py",
        "enabled=in_half",
        "enabled=False",
        _test("recipes_act"),
    ),
    Fault(
        "stop is ignored",
        "etab/training/loop.py",
        "(self.recipe.stop or self.recipe.epochs)",
        "self.recipe.epochs",
        _test("without_validation_training_stops_where_told"),
    ),
    Fault(
        "a recording has its first window for all",
        "etab/finetuning/sounds.py",
        "            for start in window_starts(seconds):",
        "            for start in window_starts(seconds)[:1]:",
        ("tests/finetuning/test_sounds.py",),
    ),
    Fault(
        "training windows begin at the beginning",
        "etab/finetuning/sounds.py",
        "starts.append(int(chance * (self._last_start(row) + 1)))",
        "starts.append(0)",
        ("tests/finetuning/test_sounds.py",),
    ),
]
