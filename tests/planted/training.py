"""Faults of training and of the heads that are trained."""

from tests.faults import Fault

_HERE = ("tests/test_training.py",)
FAULTS = [
    Fault("chance is not resumed", "etab/training.py", "        _set_chance(_part(tensors, \"chance\"))\n", "", _HERE),
    Fault("the optimizer is not resumed", "etab/training.py",
          "        restore(self.optimizer, _part(tensors, \"optimizer\"))\n", "", _HERE),
    Fault("training stops with the last weights", "etab/training.py", "network.load_state_dict(loop.best)",
          "network.load_state_dict(loop.good)", _HERE),
    Fault("a loss that is not finite goes on", "etab/training.py",
          "if not np.isfinite(total) or not np.isfinite(norm):", "if False:", _HERE),
    Fault("the bad state is kept", "etab/training.py", "        self.network.load_state_dict(self.good)\n", "", _HERE),
    Fault("parts of a step weigh too much", "etab/training.py", " * (len(part) / len(rows))", "", _HERE),
    Fault("a checkpoint is not verified", "etab/training.py",
          "hashlib.sha256(blob).hexdigest() != state[\"sha256\"]", "False", _HERE),
    Fault("partial loads pass", "etab/training.py", "    if faults:\n", "    if len(faults) > 99:\n", _HERE),
    Fault("a held pyramid differs from a streamed one", "etab/heads/segmentation.py", ".half().float() for k", " for k",
          ("tests/test_heads.py",)),
]  # fmt: skip
