"""Faults of fine-tuning."""

from tests.faults import Fault

_HERE = ("tests/test_tuned.py",)
FAULTS = [
    Fault("partial trains everything", "etab/tuned_network.py", "        parameter.requires_grad_(free)\n", "", _HERE),
    Fault("frozen blocks move their statistics", "etab/tuned_network.py", "            module.eval()\n",
          "            pass\n", _HERE),
    Fault("masks stay where they are", "etab/tuned_network.py", "masks = None if masks is None else _move(masks, theta)",
          "pass", _HERE),
    Fault("augmentation mirrors", "etab/tuned_network.py", "    return torch.cat([turn, moved[:, :, None]], dim=2)",
          "    turn = turn * torch.tensor([-1.0, 1.0])\n    return torch.cat([turn, moved[:, :, None]], dim=2)", _HERE),
    Fault("noise outside the sector", "etab/tuned_network.py", "    return dirty.clamp(0, 1)",
          "    return (dirty + 0.02 * speckle.abs()).clamp(0, 1)", _HERE),
    Fault("unknown masks count as empty", "etab/tuned_network.py", "masks, torch.nan)", "masks, 0.0)",
          ("tests/test_tuned.py::test_a_view_without_a_structure_is_unknown",)),
    Fault("NaN masks are trained on", "etab/tuned_network.py",
          "    known = ~answers.isnan().flatten(2).any(dim=2)\n".replace("    known", "        known"),
          "        known = torch.ones(answers.shape[:2], dtype=torch.bool)\n", _HERE),
    Fault("a tuned protocol runs frozen", "etab/runs.py", "            if parse(self.protocol_name).tuning:\n",
          "            if False:\n", _HERE),
    Fault("tuning is not in the name", "etab/protocols.py", 'f"-{self.tuning}" if self.tuning else ""', '""', _HERE),
    Fault("other conditions are taken for the same", "etab/tuned.py", "if there.get(name) != value]", "if False]", _HERE),
    Fault("a checkpoint of another training is taken up", "etab/training.py", "**self.about, ", "", _HERE),
    Fault("sgd is ignored", "etab/training.py", 'if recipe.optimizer == "sgd":', "if False:", _HERE),
    Fault("bf16 is ignored", "etab/training.py", 'enabled=self.recipe.precision == "bf16"', "enabled=False", _HERE),
    Fault("stop is ignored", "etab/training.py", "(self.recipe.stop or self.recipe.epochs)", "self.recipe.epochs", _HERE),
]  # fmt: skip
