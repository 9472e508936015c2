"""The one-file page runs its own script and style sheet, and no other."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from etab.leaderboard.page import _hash_of

TEMPLATE = Path(__file__).parents[2] / "etab" / "leaderboard" / "template.html"


@pytest.mark.parametrize("name", ["script", "style"])
def test_the_policy_names_the_part_by_its_hash(name: str) -> None:
    text = TEMPLATE.read_text(encoding="utf-8")
    part = text.split(f"<{name}>")[1].split(f"</{name}>")[0]
    assert text.count(f"<{name}>") == 1
    assert "{{" not in part.replace("{{}}", ""), "what is put in would change the hash"
    digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
    assert _hash_of(text, name) == f"'sha256-{digest}'"
    assert "unsafe" not in text.split("<style>")[0]
    assert ' style="' not in text.split("<script>")[0].split("</style>")[1]
