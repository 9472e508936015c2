"""Faults of the core: imports, names, tasks, runs."""

from tests.faults import Fault

FAULTS = [
    Fault(
        "import-time chdir",
        "etab/tasks/menu.py",
        'TASKS: Menu = Menu("task")',
        "TASKS: Menu = Menu(\"task\")\n__import__('os').chdir('/')",
        ("tests/test_layers.py",),
    ),
    Fault(
        "import-time seed",
        "etab/registry.py",
        '_T = TypeVar("_T")',
        "_T = TypeVar(\"_T\")\n__import__('numpy').random.seed(42)",
        ("tests/test_layers.py",),
    ),
    Fault(
        "upward import",
        "etab/registry.py",
        "import difflib",
        "import difflib\nfrom etab import tasks as _tasks",
        ("tests/test_layers.py",),
    ),
    Fault(
        "scoring drags in torch",
        "etab/metrics/uncertainty.py",
        "import numpy as np",
        "import numpy as np\nimport torch as _torch",
        ("tests/test_layers.py",),
    ),
    Fault(
        "a second holder of a name replaces the first",
        "etab/registry.py",
        "if name in self._items and self._items[name] is not item:",
        "if False:",
        ("tests/tasks/test_menu.py",),
    ),
    Fault(
        "a miss suggests nothing",
        "etab/registry.py",
        "return [lower[other] for other in close]",
        "return []",
        ("tests/tasks/test_menu.py",),
    ),
    Fault(
        "the clinical EF uses one disc height",
        "etab/echo/volumes.py",
        'None if convention == "standard" else longest',
        'None if convention == "camus" else longest',
        ("tests/echo/test_volumes.py",),
    ),
    Fault(
        "volumes forget that pixels are not square",
        "etab/echo/volumes.py",
        "np.argwhere(lv) * np.asarray(spacing)",
        "np.argwhere(lv) * spacing[0]",
        ("tests/echo/test_volumes.py",),
    ),
    Fault(
        "recurrent layers cost nothing",
        "benchmarks/perf/zoo.py",
        " / 2 + sum(steps)) / 1e9",
        " / 2) / 1e9",
        ("tests/benchmarks/test_zoo_page.py",),
    ),
    Fault(
        "a letter with a second home",
        "etab/tasks/codes.py",
        "        for name, source in SOURCES.items():\n",
        "        for name, source in list(SOURCES.items())[:12]:\n",
        ("tests/tasks/test_menu.py",),
    ),
]
