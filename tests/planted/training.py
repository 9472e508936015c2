"""Faults of training and of the heads that are trained."""

from tests.faults import Fault

_HERE = ("tests/training/test_loop.py",)


def _test(file: str, name: str) -> tuple[str]:
    return (f"tests/{file}.py::test_{name}",)


_TOGETHER = _test("training/test_loop", "networks_that_train_together_are_those_that_train_alone")
_RATE = _test("heads/test_contract", "the_best_learning_rate_is_chosen_inside_and_recorded")
_SHARED = (
    "-m",
    "slow",
    "tests/training/test_loop.py::test_two_processes_are_one_training",
)
_RESUMED = (
    "-m",
    "slow",
    "tests/training/test_loop.py::test_two_processes_resume_to_the_same_bytes",
)
FAULTS = [
    Fault(
        "processes do not share the rows",
        "etab/training/distributed.py",
        "[self.rank :: self.size]",
        "[:: self.size]",
        _test("training/test_loop", "processes_share_the_rows_of_a_step"),
    ),
    Fault(
        "gradients of processes are averaged",
        "etab/training/distributed.py",
        "        dist.all_reduce(flat)\n",
        "        dist.all_reduce(flat)\n        flat /= self.size\n",
        _SHARED,
    ),
    Fault(
        "one process alone halves its batch",
        "etab/training/loop.py",
        "        n_failed = self.share.most(n_failed)\n",
        "",
        _SHARED,
    ),
    Fault(
        "processes keep their own statistics",
        "etab/training/distributed.py",
        "            dist.broadcast(buffer, 0)\n",
        "            pass\n",
        _RESUMED,
    ),
    Fault(
        "the group outlives the training",
        "etab/training/distributed.py",
        '    importlib.import_module("torch.distributed.nn")\n',
        "",
        _RESUMED,
    ),
    Fault(
        "processes resume with one chance",
        "etab/training/loop.py",
        "part(tensors, _generator_part(self.share.rank))",
        "part(tensors, _generator_part(0))",
        _RESUMED,
    ),
    Fault(
        "the second process is not seeded",
        "etab/training/loop.py",
        "        seed_process(recipe.seed, self.share.rank)\n",
        '        seed_process(recipe.seed if self.share.rank == 0 else __import__("os").getpid(), 0)\n',
        _RESUMED,
    ),
    Fault(
        "chance is not resumed",
        "etab/training/loop.py",
        "        restore_generators(part(tensors, _generator_part(self.share.rank)))\n",
        "",
        _HERE,
    ),
    Fault(
        "the optimizer is not resumed",
        "etab/training/loop.py",
        '        restore(self.optimizer, part(tensors, "optimizer"))\n',
        "",
        _HERE,
    ),
    Fault(
        "training stops with the last weights",
        "etab/training/loop.py",
        "self.network.load_state_dict(self.best)",
        "self.network.load_state_dict(self.good)",
        _HERE,
    ),
    Fault(
        "a loss that is not finite goes on",
        "etab/training/loop.py",
        "if not np.isfinite(total) or not np.isfinite(norm):",
        "if False:",
        _HERE,
    ),
    Fault(
        "the bad state is kept",
        "etab/training/loop.py",
        "        self.network.load_state_dict(self.good)\n",
        "",
        _HERE,
    ),
    Fault(
        "parts of a step weigh too much",
        "etab/training/loop.py",
        " * (len(batch) / len(rows))",
        "",
        _HERE,
    ),
    Fault(
        "a checkpoint is not verified",
        "etab/training/checkpoints.py",
        'hashlib.sha256(blob).hexdigest() == state["sha256"]',
        "True",
        _HERE,
    ),
    Fault(
        "partial loads pass",
        "etab/training/checkpoints.py",
        "    if faults:\n",
        "    if len(faults) > 99:\n",
        _HERE,
    ),
    Fault(
        "networks that train together share their chance",
        "etab/training/loop.py",
        "                restore_generators(states[i])\n",
        "",
        _TOGETHER,
    ),
    Fault(
        "networks that train together stop together",
        "etab/training/loop.py",
        "                except StopIteration:\n                    del running[i]\n",
        "                except StopIteration:\n                    running.clear()\n                    break\n",
        _TOGETHER,
    ),
    Fault(
        "a failed training stops the others",
        "etab/training/loop.py",
        "                    failed.append(error)\n",
        "                    raise error\n",
        _test(
            "training/test_loop", "one_that_fails_leaves_the_others_alone_and_all_that_fail_raise"
        ),
    ),
    Fault(
        "the worst learning rate is taken",
        "etab/heads/masks/decoders.py",
        "key=lambda t: t[2].best_loss",
        "key=lambda t: -t[2].best_loss",
        _RATE,
    ),
    Fault(
        "the first learning rate is taken for all",
        "etab/heads/masks/decoders.py",
        "recipes = [replace(recipe, learning_rate=rate) for rate in rates]",
        "recipes = [replace(recipe, learning_rate=rates[0]) for rate in rates]",
        _RATE,
    ),
    Fault(
        "DPT takes tokens as a pyramid",
        "etab/heads/masks/pyramid.py",
        'if name != "dpt" or',
        "if True or",
        _test(
            "heads/test_contract", "dpt_takes_tokens_at_their_own_resolution_and_a_pyramid_as_it_is"
        ),
    ),
    Fault(
        "DPT fuses one level alone",
        "etab/heads/masks/networks.py",
        "self.net(list(levels), [None] * N_LEVELS)",
        "self.net([levels[0]] * N_LEVELS, [None] * N_LEVELS)",
        _test("heads/test_contract", "dpt_hears_every_level"),
    ),
    Fault(
        "batches are read once too often",
        "etab/heads/masks/pyramid.py",
        "        if key != self.key or self.last is None:\n",
        "        if True:\n",
        _RATE,
    ),
    Fault(
        "batches of other rows are served",
        "etab/heads/masks/pyramid.py",
        "        if key != self.key or self.last is None:\n",
        "        if self.last is None:\n",
        _RATE,
    ),
    Fault(
        "heads after the first are dropped",
        "etab/runs/run.py",
        "for one in head_names\n",
        "for one in head_names[:1]\n",
        _test(
            "runs/test_decoder_cells", "several_heads_read_the_maps_once_and_are_what_each_is_alone"
        ),
    ),
    Fault(
        "a held pyramid differs from a streamed one",
        "etab/heads/masks/pyramid.py",
        ".half().float() for i",
        " for i",
        _test("heads/test_contract", "decoders_take_maps_of_networks_and_transformers"),
    ),
]
