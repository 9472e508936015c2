"""Faults of fetching: wrong bytes that are kept, names of files outside, errors of the disk."""

from tests.faults import Fault


def _tests(name: str) -> tuple[str, ...]:
    return (f"tests/datasets/test_fetch.py::{name}",)


FAULTS = [
    Fault(
        "fetch: an error of the network is one of the disk",
        "etab/datasets/fetch_errors.py",
        "    if not is_plain or isinstance(error, _NETWORK):\n",
        "    if not isinstance(error, OSError):\n",
        _tests("test_errors_of_the_network_are_none_of_the_disk"),
    ),
    Fault(
        "fetch: a data set without a source has no answer",
        "etab/datasets/fetch.py",
        "    if name in ELSEWHERE:\n",
        "    if False:\n",
        _tests("test_every_data_set_answers"),
    ),
    Fault(
        "fetch: files of the hub are believed by their size",
        "etab/datasets/fetch_hub.py",
        "        return _digest(path, hashlib.sha256()) == str(item.lfs.sha256)\n",
        "        return True\n",
        _tests("test_what_is_not_complete_never_has_the_name_of_a_release"),
    ),
    Fault(
        "fetch: a page to sign in is a file with wrong bytes",
        "etab/datasets/fetch_file.py",
        "    if response.history and is_page and not wants_page:\n",
        "    if False:\n",
        _tests("test_a_page_to_sign_in_is_told_and_not_kept"),
    ),
    Fault(
        "fetch: a file without an end is written without an end",
        "etab/datasets/fetch_file.py",
        "            if size > file.most:\n",
        "            if False:\n",
        _tests("test_a_file_without_an_end_stops_at_the_size_of_the_release"),
    ),
]
