"""Faults of the 2022 names, of fine-tuning and of the command."""

from tests.faults import Fault

_HERE = ("tests/test_names_2022.py",)
_SCRIPT = ("tests/test_run_benchmark.py",)
FAULTS = [
    Fault("frozen backbone keeps training statistics", "etab/finetune.py",
          "        if self.frozen:\n            self.body.eval()\n        return self", "        return self", _HERE),
    Fault("freezing leaves gradients", "etab/finetune.py", "self.body.requires_grad_(False).eval()", "self.body.eval()",
          ("tests/test_names_2022.py",)),
    Fault("unfreezing trains nothing", "etab/finetune.py", "        self.frozen = False\n        self.body.requires_grad_(True)",
          "        self.frozen = False\n        self.body.requires_grad_(False)", _HERE),
    Fault("fine-tuning touches the user's module", "etab/finetune.py", "mine = copy.deepcopy(backbone.network)",
          "mine = backbone.network", _HERE),
    Fault("normalisation is not undone", "etab/finetune.py", "    if not normalized:\n        return x.float()\n",
          "    return x.float()\n", _HERE),
    Fault("a shared activation stands for a stage", "etab/backbones/vision.py", "if calls[name] == 1]", "if calls[name]]",
          _HERE),
    Fault("evaluation counts frames, not patients", "etab/utils/metrics.py",
          "rows.patients if isinstance(rows, Items) else [str(i)", "rows.ids if isinstance(rows, Items) else [str(i)", _HERE),
    Fault("UniFormer falls through", "etab/baselines/names.py", "    if family is not None:", "    if False:", _HERE),
    Fault("old codes take the wrong target", "etab/baselines/names.py", '"LV_seg", "MY_seg", "LA_seg", "EF"',
          '"LV_seg", "LA_seg", "MY_seg", "EF"', _HERE),
    Fault("weights of tasks do not act", "etab/scores.py", "+ weight / len(codes) / sum(asked.values())",
          "+ 1 / len(codes) / len(asked)", _HERE),
    Fault("weights of the user are not loaded", "etab/scores.py",
          "        load_weights(made.network, module.state_dict(), name)\n", "", _HERE),
    Fault("partial weights are loaded", "etab/baselines/models.py", "    if lost:\n", "    if False:\n", _HERE),
    Fault("the interval is of the normal law", "etab/scores.py", "stats.t.ppf(0.975, len(values) - 1)",
          "stats.norm.ppf(0.975)", _HERE),
    Fault("switching the task makes a new backbone", "etab/benchmarks.py",
          "        default = \"SegFormer\" if self._sort",
          "        self.model.backbone.apply(lambda m: m.reset_parameters() if hasattr(m, 'reset_parameters') else None)\n"
          "        default = \"SegFormer\" if self._sort", (*_HERE, *_SCRIPT)),
    Fault("False is true", "run_benchmark.py", "return word in _YES", "return bool(word)", _SCRIPT),
    Fault("checkpoints of two heads mix", "etab/baselines/models.py", "/ self._training(sets)", "/ 'one'", _HERE),
]  # fmt: skip
