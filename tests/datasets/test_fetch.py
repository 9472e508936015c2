"""Fetching free data from a server that drops connections, sends wrong bytes, refuses or is not there."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from etab.datasets.fetch import fetch_data
from etab.errors import (
    DataNotFoundError,
    MissingPackageError,
    StorageError,
    UnknownNameError,
    UnsupportedOptionError,
)

PROJECT = "/circor-heart-sound/1.0.3/"
FILES = {"training_data.csv": b"Patient ID;Age\n" * 40, "training_data/1_AV.wav": bytes(90_000)}


@dataclass
class Plan:
    """How often each file is cut, or sent wrong; and the ranges that were requested."""

    cut: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)
    refuse: bool = False
    ranges: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    plan: Plan

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        if self.plan.refuse:
            self.answer(403, b'{"error": "access denied"}')
        elif self.path.startswith("/api/"):
            facts = dict.fromkeys(("title", "abstract", "citation"), "")
            version = {"slug": "circor-heart-sound", "version": "1.0.3", **facts}
            self.answer(200, json.dumps([version]).encode())
        elif self.path.endswith("SHA256SUMS.txt"):
            lines = [f"{hashlib.sha256(data).hexdigest()} {name}" for name, data in FILES.items()]
            self.answer(200, "\n".join(lines).encode())
        else:
            self.send_file(self.path.partition(PROJECT)[2])

    def send_file(self, name: str) -> None:
        data = FILES[name]
        wanted = self.headers.get("Range", "")
        start = int(re.sub(r"\D", "", wanted) or 0)
        if wanted:
            self.plan.ranges.append(f"{name} {start}")
        self.plan.sent.append(name)
        part = data[start:]
        if self.plan.wrong.get(name, 0) > 0:
            self.plan.wrong[name] -= 1
            part = bytes(255 - byte for byte in part)
        size = len(part)
        if self.plan.cut.get(name, 0) > 0:
            self.plan.cut[name] -= 1
            part = part[: size // 2]
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if wanted else {}
        self.answer(206 if wanted else 200, part, size, headers)

    def answer(
        self, code: int, body: bytes, size: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if size is None else size))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


@pytest.fixture
def plan() -> Plan:
    pytest.importorskip("physionet", reason="the client of PhysioNet is not installed")
    return Plan()


@pytest.fixture
def address(plan: Plan) -> Iterator[str]:
    handler = type("Planned", (Handler,), {"plan": plan})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def complete(release: Path) -> bool:
    return all((release / name).read_bytes() == data for name, data in FILES.items())


@pytest.mark.slow  # a server on loopback
def test_a_download_that_was_cut_goes_on_where_it_ended(
    plan: Plan, address: str, tmp_path: Path
) -> None:
    name = "training_data/1_AV.wav"
    plan.cut[name] = 2
    told: list[str] = []
    release = fetch_data("circor", tmp_path, wait=0, address=address, report=told.append)
    assert complete(release)
    assert release.name == "circor-heart-sound-1.0.3"
    starts = [int(wanted.split()[1]) for wanted in plan.ranges]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1] < len(FILES[name])
    assert plan.sent.count("training_data.csv") == 1
    assert "1 files failed: training_data/1_AV.wav" in told[0]
    plan.sent.clear()
    assert complete(fetch_data("circor", tmp_path, wait=0, address=address))
    assert plan.sent == []


@pytest.mark.slow  # a server on loopback
def test_wrong_bytes_are_never_kept(plan: Plan, address: str, tmp_path: Path) -> None:
    name = "training_data.csv"
    plan.wrong[name] = 1
    assert complete(fetch_data("circor", tmp_path, wait=0, address=address))
    damaged = tmp_path / "other"
    plan.wrong[name] = 9
    with pytest.raises(DataNotFoundError, match=r"not complete after 2 attempts.*Checksum"):
        fetch_data("circor", damaged, attempts=2, wait=0, address=address)
    assert not (damaged / "circor-heart-sound-1.0.3" / name).exists()


@pytest.mark.slow  # a server on loopback
def test_a_server_that_refuses_or_is_not_there_is_told(
    plan: Plan, address: str, tmp_path: Path
) -> None:
    plan.refuse = True
    with pytest.raises(DataNotFoundError, match=r"refuses circor-heart-sound 1\.0\.3: access"):
        fetch_data("circor", tmp_path, wait=0, address=address)
    with pytest.raises(DataNotFoundError, match="does not answer"):
        fetch_data("circor", tmp_path, attempts=1, wait=0, address="http://127.0.0.1:9")


@pytest.mark.slow  # a server on loopback
def test_a_folder_that_is_a_file_is_told(plan: Plan, address: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="could not be written"):
        fetch_data("circor", tmp_path / "file", wait=0, address=address)


def test_data_that_need_a_signature_are_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOptionError, match=r"echonet cannot be fetched here.*--root"):
        fetch_data("echonet", tmp_path)
    with pytest.raises(UnknownNameError, match="circor"):
        fetch_data("circcor", tmp_path)


def test_a_client_that_is_absent_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "physionet.download", None)
    with pytest.raises(MissingPackageError, match=r"etab-bench\[fetch\]"):
        fetch_data("circor", tmp_path)
