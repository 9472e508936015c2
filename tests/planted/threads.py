"""Faults of the threads that a fit has."""

from tests.faults import Fault

MACHINE = "etab/storage/machine.py"
OF_MACHINE = "tests/storage/test_machine.py"
OF_RUNS = "tests/runs/test_threads.py"
RANKING = "etab/leaderboard/ranking.py"
OF_BOARDS = "tests/leaderboard/test_ranking.py"

FAULTS = [
    Fault(
        "threads: a probe has all of them",
        "etab/runs/cell.py",
        "with one_thread(torch_too=not work.head.uses_torch):",
        "if True:",
        (f"{OF_RUNS}::test_threads_of_a_fit_that_fails",),
    ),
    Fault(
        "threads: a network is trained in one",
        "etab/runs/cell.py",
        "with one_thread(torch_too=not work.head.uses_torch):",
        "with one_thread(torch_too=True):",
        (f"{OF_RUNS}::test_threads_of_a_fit_that_fails",),
    ),
    Fault(
        "threads: those of torch are not limited",
        MACHINE,
        'user_api=None if torch_too else "blas"',
        'user_api="blas"',
        (f"{OF_MACHINE}::test_one_thread_inside_and_the_setting_of_the_user_after",),
    ),
    Fault(
        "threads: the limit stays after a probe",
        MACHINE,
        'with threadpool_limits(limits=1, user_api=None if torch_too else "blas"):\n        yield',
        'threadpool_limits(limits=1, user_api=None if torch_too else "blas")\n    yield',
        (f"{OF_MACHINE}::test_one_thread_inside_and_the_setting_of_the_user_after",),
    ),
    Fault(
        "threads: a Python thread that is new to torch has all of them",
        MACHINE,
        "    torch.get_num_threads()\n    with threadpool_limits",
        "    with threadpool_limits",
        (f"{OF_MACHINE}::test_python_threads_that_overlap_leave_the_setting_of_the_user",),
    ),
    Fault(
        "threads: a board of a folder has all of them",
        RANKING,
        "@one_thread_of_numpy()\n@without_collection()",
        "@without_collection()",
        (f"{OF_BOARDS}::test_products_of_a_board_wait_for_no_other_thread",),
    ),
    Fault(
        "threads: a board of results has all of them",
        RANKING,
        "@one_thread_of_numpy()\ndef rank(",
        "def rank(",
        (f"{OF_BOARDS}::test_products_of_a_board_wait_for_no_other_thread",),
    ),
    Fault(
        "threads: those of a board stay limited",
        MACHINE,
        'with threadpool_limits(limits=1, user_api="blas"):\n        yield',
        'threadpool_limits(limits=1, user_api="blas")\n    yield',
        (
            f"{OF_MACHINE}::test_numpy_alone_has_one_thread_inside_and_the_setting_of_the_user_after",
        ),
    ),
]
