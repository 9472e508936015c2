"""Faults of what names a backbone in caches and results."""

from tests.faults import Fault

_TESTS = ("tests/backbones/test_identity.py",)

FAULTS = [
    Fault(
        "a function is named without its closure",
        "etab/storage/content.py",
        "for name, cell in zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True):",
        "for name, cell in ():",
        _TESTS,
    ),
    Fault(
        "a function is named without its defaults",
        "etab/storage/content.py",
        'self.digest(thing.__defaults__, f"{path}, defaults"),',
        'b"",',
        _TESTS,
    ),
    Fault(
        "a function is named without its globals",
        "etab/storage/content.py",
        "if name in thing.__globals__:",
        "if False:",
        _TESTS,
    ),
    Fault(
        "a function is named without its constants",
        "etab/storage/content.py",
        "constants = [self._constant(c, path) for c in code.co_consts]",
        "constants: list[bytes] = []",
        _TESTS,
    ),
    Fault(
        "a method replaced in a released class goes unseen",
        "etab/storage/content.py",
        "changed = self._replaced(thing, path)",
        "changed: list[bytes] = []",
        _TESTS,
    ),
    Fault(
        "a class is named by its name alone",
        "etab/storage/content.py",
        "for name in sorted(set(vars(thing)) - _CLASS_BOOKKEEPING):",
        "for name in ():",
        _TESTS,
    ),
    Fault(
        "hooks of a module go unseen",
        "etab/storage/content_torch.py",
        "elif isinstance(value, Mapping) and value:",
        "elif False:",
        _TESTS,
    ),
    Fault(
        "a module is named by its weights alone",
        "etab/storage/content_torch.py",
        "if name not in bookkeeping:",
        "if name in own:",
        _TESTS,
    ),
    Fault(
        "a lock is taken for content",
        "etab/storage/content.py",
        'raise NamelessError(f"{refusal}, whose content cannot be read") from error',
        'return self.mix("opaque", refusal)',
        _TESTS,
    ),
    Fault(
        "features without a name are cached",
        "etab/features/store.py",
        "if cache is None or not reason:",
        "if True:",
        _TESTS,
    ),
    Fault(
        "a stored result is found by the name of its backbone",
        "etab/runs/record.py",
        "reason = difference(run.backbone_card, stored.weights_sha256)",
        'reason = ""',
        _TESTS,
    ),
    Fault(
        "a name of the user stands for any control or twin",
        "etab/backbones/identity.py",
        "((card.twin or not card.learned) and not card.own_name)",
        "card.twin or not card.learned",
        _TESTS,
    ),
    Fault(
        "a fine-tuned result is found by the name of its backbone",
        "etab/finetuning/cells.py",
        "if stored is None or not is_of_backbone(cell, stored, settings):",
        "if stored is None:",
        (
            "tests/finetuning/test_cells.py::"
            "test_a_result_of_another_network_of_the_same_name_is_not_read",
        ),
    ),
    Fault(
        "a card with its own loader is trusted by its name",
        "etab/backbones/identity.py",
        'return _is_plain(load) and not getattr(load, "of_user", False)',
        "return True",
        _TESTS,
    ),
    Fault(
        "a plan holds two backbones of one name",
        "etab/runs/run.py",
        "refuse_homonyms(cards)",
        "pass",
        _TESTS,
    ),
    Fault(
        "a board mixes two backbones of one name",
        "etab/leaderboard/comparable.py",
        "_refuse_homonyms(results)",
        "pass",
        _TESTS,
    ),
    Fault(
        "a stored result is of a head by its name",
        "etab/runs/cell.py",
        "        **added_code(task, head),\n",
        "",
        ("tests/runs/test_added.py",),
    ),
    Fault(
        "code that cannot be read is taken for the same",
        "etab/runs/added.py",
        "return secrets.token_hex(32)",
        'return "0" * 64',
        ("tests/runs/test_added.py",),
    ),
]
