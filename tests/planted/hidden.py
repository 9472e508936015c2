"""Faults of hidden files that are taken for data of a set of sounds."""

from tests.faults import Fault

TESTS = ("tests/datasets/test_hidden_sounds.py",)

FAULTS = [
    Fault(
        "hidden: notes are recordings of circor",
        "etab/datasets/circor.py",
        "files = visible_names(self.folder)",
        "files = {p.name for p in self.folder.iterdir()}",
        TESTS,
    ),
    Fault(
        "hidden: notes are recordings of cinc2016",
        "etab/datasets/cinc2016.py",
        'visible(folder, "*.wav")',
        'folder.glob("*.wav")',
        TESTS,
    ),
    Fault(
        "hidden: notes are damaged files",
        "etab/datasets/integrity/listed.py",
        "for path in visible_files(root):",
        'for path in (p for p in root.rglob("*") if p.is_file()):',
        TESTS,
    ),
    Fault(
        "hidden: archives list records",
        "etab/datasets/integrity/listed.py",
        '*visible(root, f"*/{RECORDS}")',
        '*root.glob(f"*/{RECORDS}")',
        TESTS,
    ),
]
