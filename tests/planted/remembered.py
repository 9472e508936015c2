"""Faults of boards that are shown again without computing them."""

from tests.faults import Fault

TESTS = ("tests/leaderboard/test_remembered.py",)
FILE = "etab/leaderboard/remembered.py"

FAULTS = [
    Fault(
        "remembered: a board from inside the results",
        FILE,
        "if resolved(self._folder).is_relative_to(results):",
        "if False:",
        TESTS,
    ),
    Fault(
        "remembered: a changed folder is kept",
        FILE,
        " or self._of_now() != self._digest:",
        ":",
        TESTS,
    ),
    Fault(
        "remembered: names of files alone count",
        FILE,
        "content = hashlib.sha256(read_file(path, _MOST_BYTES)).hexdigest()",
        'content = ""',
        TESTS,
    ),
    Fault(
        "remembered: a cache that others can write",
        FILE,
        " and not status.st_mode & 0o022",
        "",
        TESTS,
    ),
    Fault(
        "remembered: any class is made",
        FILE,
        "if name in _CLASSES.get(module, ()):",
        "if True:",
        TESTS,
    ),
    Fault(
        "remembered: other code, old board",
        FILE,
        "_code_digest(), *versions",
        "*versions",
        TESTS,
    ),
    Fault(
        "remembered: links are followed",
        FILE,
        "elif not stat.S_ISDIR(status.st_mode):",
        "elif False:",
        TESTS,
    ),
    Fault(
        "links in a circle end a board in an error of Python",
        "etab/files.py",
        "    return Path(os.path.realpath(path))\n",
        "    return path.resolve()\n",
        (
            "tests/leaderboard/test_remembered.py::"
            "test_folders_and_suites_that_cannot_be_read_are_told_by_the_command",
        ),
    ),
    Fault(
        "a folder whose name is not UTF-8 has no board",
        "etab/leaderboard/remembered.py",
        '.encode(errors="backslashreplace")',
        ".encode()",
        (
            "tests/leaderboard/test_remembered.py::"
            "test_folders_and_suites_that_cannot_be_read_are_told_by_the_command",
        ),
    ),
]
