"""Fetching free data from servers that drop connections, send wrong bytes, refuse or are not there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from etab.datasets import SOURCES
from etab.datasets.fetch import ELSEWHERE, RELEASES, UNFINISHED, fetch_data
from etab.datasets.fetch_errors import is_of_storage
from etab.errors import (
    DataNotFoundError,
    EtabError,
    MissingPackageError,
    StorageError,
    UnknownNameError,
    UnsupportedOptionError,
)

TABLE, WAVE = "training_data.csv", "training_data/1_AV.wav"
FILES = {TABLE: b"Patient ID;Age\n" * 40, WAVE: bytes(range(256)) * 800}
PAGE = b"<!DOCTYPE html><title>Maintenance</title>"
COMMIT = "c" * 40
ENDLESS = 8 << 20


@dataclass
class Plan:
    """What the server does; numbers count down with each request for the file."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    cut: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)
    page: dict[str, int] = field(default_factory=dict)
    absent: dict[str, int] = field(default_factory=dict)
    no_length: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    login: set[str] = field(default_factory=set)
    endless: set[str] = field(default_factory=set)
    ignores_ranges: bool = False
    sums: bytes | None = None
    refuse: int = 0
    seconds_a_part: float = 0.0
    written: int = 0
    ranges: list[tuple[str, int]] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def takes(self, counts: dict[str, int], name: str) -> bool:
        """Count down, and say whether the plan applies once more."""
        if counts.get(name, 0) <= 0:
            return False
        counts[name] -= 1
        return True


class Handler(BaseHTTPRequestHandler):
    """Serves the files of the plan; subclasses know the interface of PhysioNet or of the hub."""

    plan: Plan
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        asked = self.path.rpartition("/")[2]
        if self.path.startswith("/login"):
            self.answer(200, PAGE, headers={"Content-Type": "text/html; charset=utf-8"})
        elif asked in self.plan.login:
            self.answer(302, b"", headers={"Location": f"/login/?next={self.path}"})
        elif asked in self.plan.endless:
            self.answer(200, bytes(ENDLESS), None)
        elif self.plan.refuse:
            self.answer(self.plan.refuse, b'{"error": "access denied"}')
        elif not self.facts():
            self.send_file()

    def facts(self) -> bool:
        """Answer what is no file, and say whether that was it."""
        raise NotImplementedError

    def file_name(self) -> str:
        raise NotImplementedError

    def file_headers(self, name: str) -> dict[str, str]:
        return {}

    def send_file(self) -> None:
        plan, name = self.plan, self.file_name()
        data, headers = plan.files[name], self.file_headers(name)
        if name in plan.moved and "moved" not in self.path:
            self.answer(302, b"", headers={"Location": f"{self.path}?moved", **headers})
            return
        if self.command == "HEAD":
            self.answer(200, b"", len(data), headers)
            return
        if plan.takes(plan.absent, name):
            self.answer(404, b"not found")
            return
        if plan.takes(plan.page, name):
            self.answer(200, PAGE)
            return
        plan.sent.append(name)
        start = 0
        wanted = self.headers.get("Range", "")
        if wanted:
            start = int(re.sub(r"-.*|\D", "", wanted) or 0)
            plan.ranges.append((name, start))
        if plan.ignores_ranges:
            start, wanted = 0, ""
        if wanted and start >= len(data):
            self.answer(416, b"", headers={"Content-Range": f"bytes */{len(data)}"})
            return
        part = data[start:]
        if plan.takes(plan.wrong, name):
            part = bytes(255 - byte for byte in part)
        size: int | None = len(part)
        if plan.takes(plan.cut, name):
            part = part[: len(part) // 2]
        if name in plan.no_length:
            size = None
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.answer(206 if wanted else 200, part, size, headers)

    def answer(
        self,
        code: int,
        body: bytes,
        size: int | None = -1,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(code)
        if size is not None:
            self.send_header("Content-Length", str(len(body) if size == -1 else size))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if self.command == "HEAD":
            return
        for start in range(0, len(body), 8192):
            try:
                self.wfile.write(body[start : start + 8192])
            except (BrokenPipeError, ConnectionResetError):
                return  # who asked has enough
            self.plan.written += 8192
            time.sleep(self.plan.seconds_a_part)


class PhysioNet(Handler):
    """The interface of PhysioNet."""

    def facts(self) -> bool:
        if self.path.startswith("/api/"):
            texts = dict.fromkeys(("title", "abstract", "citation"), "")
            size = sum(map(len, FILES.values()))
            facts = {"slug": "circor-heart-sound", "main_storage_size": size, **texts}
            self.answer(200, json.dumps(facts).encode())
        elif self.path.endswith("SHA256SUMS.txt"):
            lines = [f"{hashlib.sha256(data).hexdigest()} {name}" for name, data in FILES.items()]
            sums = "\n".join(lines).encode()
            self.answer(200, sums if self.plan.sums is None else self.plan.sums)
        else:
            return False
        return True

    def file_name(self) -> str:
        return self.path.partition("/circor-heart-sound/1.0.3/")[2].partition("?")[0]


class Hub(Handler):
    """The interface of the Hugging Face hub."""

    def facts(self) -> bool:
        if "/tree/" in self.path:
            self.answer(200, json.dumps([_item(name) for name in FILES]).encode())
        elif self.path.startswith("/api/"):
            facts = {"id": "a/b", "sha": COMMIT, "siblings": [{"rfilename": n} for n in FILES]}
            self.answer(200, json.dumps(facts).encode())
        else:
            return False
        return True

    def file_name(self) -> str:
        return self.path.partition(f"/resolve/{COMMIT}/")[2].partition("?")[0]

    def file_headers(self, name: str) -> dict[str, str]:
        item = _item(name)
        tag = item["lfs"]["oid"] if "lfs" in item else item["oid"]
        return {"X-Repo-Commit": COMMIT, "ETag": f'"{tag}"', "Accept-Ranges": "bytes"}


def _item(name: str) -> dict[str, Any]:
    """A file as the hub lists it: the sound is large, the table is small."""
    data = FILES[name]
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    item: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": git}
    if name == WAVE:
        sha256 = hashlib.sha256(data).hexdigest()
        item["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 130}
    return item


@contextmanager
def serving(plan: Plan, kind: type[Handler]) -> Iterator[str]:
    handler = type("Planned", (kind,), {"plan": plan})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Place:
    """A server and the data set that it has."""

    name: str
    plan: Plan
    address: str

    def fetch(self, folder: Path, **options: Any) -> Path:
        options = {"wait": 0, "attempts": 3, **options}
        return fetch_data(self.name, folder, address=self.address, **options)


@pytest.fixture(params=[("circor", PhysioNet), ("circor_hf", Hub)], ids=["physionet", "hub"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    name, kind = request.param
    pytest.importorskip("physionet" if name == "circor" else "huggingface_hub")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    plan = Plan()
    with serving(plan, kind) as address:
        yield Place(name, plan, address)


@pytest.fixture
def physionet() -> Iterator[Place]:
    pytest.importorskip("physionet", reason="the client of PhysioNet is not installed")
    plan = Plan()
    with serving(plan, PhysioNet) as address:
        yield Place("circor", plan, address)


def complete(release: Path) -> bool:
    return all((release / name).read_bytes() == data for name, data in FILES.items())


def final(place: Place, folder: Path) -> Path:
    return folder / RELEASES[place.name].folder


@pytest.mark.slow  # a server on loopback, as in most tests below
def test_a_download_that_was_cut_goes_on_where_it_ended(place: Place, tmp_path: Path) -> None:
    place.plan.cut[WAVE] = 2
    release = place.fetch(tmp_path, attempts=5)
    assert complete(release)
    assert release == final(place, tmp_path)
    assert not (tmp_path / UNFINISHED).exists()
    starts = [start for name, start in place.plan.ranges if name == WAVE]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1] < len(FILES[WAVE])
    assert place.plan.sent.count(TABLE) == 1
    place.plan.sent.clear()
    assert complete(place.fetch(tmp_path))
    assert place.plan.sent == []


BRIEF: dict[str, Callable[[Plan], None]] = {
    "wrong bytes of a large file": lambda plan: plan.wrong.update({WAVE: 1}),
    "wrong bytes of a small file": lambda plan: plan.wrong.update({TABLE: 1}),
    "a page in place of a file": lambda plan: plan.page.update({TABLE: 1, WAVE: 1}),
    "a file that is not found once": lambda plan: plan.absent.update({WAVE: 1}),
    "redirects": lambda plan: plan.moved.update({TABLE, WAVE}),
    "cut without a length": lambda plan: (plan.no_length.add(WAVE), plan.cut.update({WAVE: 1}))[0],
    "ranges that are ignored": lambda plan: (
        setattr(plan, "ignores_ranges", True),
        plan.cut.update({WAVE: 1}),
    )[0],
}


@pytest.mark.slow
@pytest.mark.parametrize("trouble", BRIEF)
def test_trouble_that_passes_is_overcome(place: Place, tmp_path: Path, trouble: str) -> None:
    BRIEF[trouble](place.plan)
    assert complete(place.fetch(tmp_path, attempts=4))


LASTING: dict[str, Callable[[Plan], None]] = {
    "wrong bytes of a large file": lambda plan: plan.wrong.update({WAVE: 99}),
    "wrong bytes of a small file": lambda plan: plan.wrong.update({TABLE: 99}),
    "a page in place of a file": lambda plan: plan.page.update({WAVE: 99}),
    "a file that is not found": lambda plan: plan.absent.update({WAVE: 99}),
    "a file without an end": lambda plan: plan.endless.add("1_AV.wav"),
    "cut each time": lambda plan: plan.cut.update({WAVE: 99}),
}


@pytest.mark.slow
@pytest.mark.parametrize("trouble", LASTING)
def test_what_is_not_complete_never_has_the_name_of_a_release(
    place: Place, tmp_path: Path, trouble: str
) -> None:
    LASTING[trouble](place.plan)
    with pytest.raises(DataNotFoundError, match=r"not complete after 2 attempts\."):
        place.fetch(tmp_path, attempts=2)
    assert not final(place, tmp_path).exists()
    for path in (tmp_path / UNFINISHED).rglob("*"):
        if path.name == Path(TABLE).name and "cache" not in str(path):
            assert path.read_bytes() == FILES[TABLE]


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["1_AV.wav", "training_data.csv"])
def test_a_page_to_sign_in_is_told_and_not_kept(place: Place, tmp_path: Path, asked: str) -> None:
    place.plan.login.add(asked)
    with pytest.raises(DataNotFoundError, match="wants you to sign in: it leads to the web page"):
        place.fetch(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.read_bytes() for path in files} <= set(FILES.values())
    place.plan.login.clear()
    assert complete(place.fetch(tmp_path))


@pytest.mark.slow
def test_a_list_of_checksums_behind_a_page_to_sign_in_is_told(
    physionet: Place, tmp_path: Path
) -> None:
    physionet.plan.login.add("SHA256SUMS.txt")
    with pytest.raises(DataNotFoundError, match="wants you to sign in"):
        physionet.fetch(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_file_without_an_end_stops_at_the_size_of_the_release(
    place: Place, tmp_path: Path
) -> None:
    place.plan.endless.add("1_AV.wav")
    with pytest.raises(DataNotFoundError, match="bytes that the release states"):
        place.fetch(tmp_path, attempts=1)
    assert place.plan.written < ENDLESS
    assert not list(tmp_path.rglob("1_AV*"))


@pytest.mark.slow
def test_files_that_are_there_are_kept_or_mended(place: Place, tmp_path: Path) -> None:
    release = final(place, tmp_path)
    (release / "training_data").mkdir(parents=True)
    (release / TABLE).write_bytes(FILES[TABLE])
    (release / "mine.txt").write_text("notes")
    for content in (
        FILES[WAVE][:5000],
        bytes(len(FILES[WAVE])),
        FILES[WAVE] + b"more",
        b"",
        b"x" * 9,
    ):
        (release / WAVE).write_bytes(content)
        place.plan.sent.clear()
        assert complete(place.fetch(tmp_path))
        assert (release / "mine.txt").read_text() == "notes"
        if place.name == "circor":
            assert TABLE not in place.plan.sent


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_killed_download_goes_on(place: Place, tmp_path: Path) -> None:
    place.plan.seconds_a_part = 0.3
    code = (
        "import sys; from pathlib import Path; from etab.datasets.fetch import fetch_data;"
        "fetch_data(sys.argv[1], Path(sys.argv[2]), address=sys.argv[3])"
    )
    command = [sys.executable, "-c", code, place.name, str(tmp_path), place.address]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while not _begun(tmp_path) and time.monotonic() < until:
        time.sleep(0.02)
    assert _begun(tmp_path), "the download was not seen in its middle"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not final(place, tmp_path).exists()
    place.plan.seconds_a_part = 0.0
    assert complete(place.fetch(tmp_path))
    assert any(name == WAVE and start > 0 for name, start in place.plan.ranges)


def _begun(folder: Path) -> bool:
    """Whether some of the large file lies on the disk."""
    try:
        paths = [p for p in folder.rglob("*") if p.is_file() and p.name != Path(TABLE).name]
        return any(8_000 < path.stat().st_size < len(FILES[WAVE]) for path in paths)
    except FileNotFoundError:  # renamed meanwhile
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_disk_that_is_full_is_told_at_once(place: Place, tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path;"
        "from etab.errors import StorageError; from etab.datasets.fetch import fetch_data;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, {resource.RLIM_INFINITY}));\n"
        "try: fetch_data(sys.argv[1], Path(sys.argv[2]), address=sys.argv[3], wait=9)\n"
        "except StorageError as error: print(error)"
    )
    command = [sys.executable, "-c", code, place.name, str(tmp_path), place.address]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "could not be written: File too large" in run.stdout, run.stderr
    assert not final(place, tmp_path).exists()
    assert complete(place.fetch(tmp_path))  # once there is space, from where it ended
    assert [start for name, start in place.plan.ranges if name == WAVE] == [20_000]


@pytest.mark.slow
def test_a_server_that_refuses_or_is_not_there_is_told(place: Place, tmp_path: Path) -> None:
    place.plan.refuse = 403 if place.name == "circor" else 401
    with pytest.raises(DataNotFoundError, match=r"refuses (access|miguell)"):
        place.fetch(tmp_path)
    place.plan.refuse = 500
    with pytest.raises(DataNotFoundError):
        place.fetch(tmp_path, attempts=1)
    with pytest.raises(DataNotFoundError, match="not complete after 1 attempts"):
        fetch_data(place.name, tmp_path, attempts=1, address="http://127.0.0.1:9")


@pytest.mark.slow
def test_a_folder_that_is_a_file_is_told(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="could not be written"):
        place.fetch(tmp_path / "file")


@pytest.mark.slow
@pytest.mark.parametrize("sums", [b"", PAGE, b"abc training_data.csv\n"])
def test_a_list_of_checksums_that_is_none_is_told(
    physionet: Place, tmp_path: Path, sums: bytes
) -> None:
    physionet.plan.sums = sums
    with pytest.raises(DataNotFoundError, match="is not a list of checksums"):
        physionet.fetch(tmp_path, attempts=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["../outside.txt", "/etc/outside", "a/../../outside.txt", "..\\outside.txt"]
)
def test_a_list_never_names_a_file_outside(physionet: Place, tmp_path: Path, name: str) -> None:
    physionet.plan.sums = f"{'0' * 64} {name}\n".encode()
    with pytest.raises(DataNotFoundError, match="outside the release"):
        physionet.fetch(tmp_path / "folder", attempts=1)
    assert not (tmp_path / "outside.txt").exists()


def test_every_data_set_answers(tmp_path: Path) -> None:
    for name in {*SOURCES, *ELSEWHERE} - set(RELEASES):
        with pytest.raises(UnsupportedOptionError, match=f"{name} cannot be fetched here") as told:
            fetch_data(name, tmp_path)
        assert "--root FOLDER" in str(told.value) or "--as" in str(told.value)
    assert {release.dataset for release in RELEASES.values()} <= set(SOURCES)
    with pytest.raises(UnknownNameError, match="circor"):
        fetch_data("circcor", tmp_path)


def test_errors_of_the_network_are_none_of_the_disk() -> None:
    assert is_of_storage(PermissionError(13, "denied"))
    assert not any(
        map(
            is_of_storage,
            (
                ConnectionResetError(104, "x"),
                TimeoutError(110, "x"),
                OSError("size"),
                EtabError("x"),
            ),
        )
    )


@pytest.mark.parametrize(
    ("name", "module"), [("circor", "physionet.api.client"), ("circor_hf", "huggingface_hub")]
)
def test_a_client_that_is_absent_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match=r"etab-bench\[fetch\]"):
        fetch_data(name, tmp_path)


def test_the_help_names_every_data_set_that_is_fetched() -> None:
    from typer.testing import CliRunner

    from etab.cli.main import app

    shown = " ".join(CliRunner().invoke(app, ["data", "fetch", "--help"]).output.split())
    assert f"free dataset: {', '.join(RELEASES)}." in shown.replace("- ", "-")
