"""Heart sounds that are damaged or contradict themselves: each gives the error that names the file and the next step."""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from etab.datasets import Cinc2016Source, CircorSource
from etab.datasets.cinc2016_states import read_state_ans
from etab.datasets.circor_layout import read_states
from etab.errors import CorruptFileError, DataNotFoundError, EtabError, LayoutError
from etab.readers.audio import read_wav, wav_info
from etab.readers.physionet import read_dat, read_wfdb_header
from tests.trees import sounds


@pytest.fixture(scope="module")
def made(phantom_tree: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    phantom_tree(["circor", "cinc2016"]).rename(folder / "all")
    sounds.small_circor(folder / "all" / "circor", folder / "circor")
    sounds.small_cinc2016(folder / "all" / "cinc2016", folder / "cinc2016")
    return folder


@pytest.fixture
def circor(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made / "circor", tmp_path / "circor")


@pytest.fixture
def cinc(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made / "cinc2016", tmp_path / "cinc2016")


def read(source: CircorSource | Cinc2016Source) -> None:
    for record in source.records():
        source.wave(record)
        for target in source.card.targets:
            source.answers(record, target)


def refused(source: type, root: Path, said: str, kind: type[EtabError] = CorruptFileError) -> None:
    with pytest.raises(kind, match=said):
        read(source(root))


# --- audio ---


def test_truncated_wav(tmp_path: Path) -> None:
    path = sounds.wav(tmp_path / "a.wav", n=100, promised=900)
    for action in (wav_info, read_wav):
        with pytest.raises(
            CorruptFileError,
            match=r"a\.wav is cut short: its header promises 900 bytes .* 200 are there",
        ):
            action(path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bits": 48}, "48-bit PCM; wanted PCM of 8, 16, 24 or 32 bits"),
        ({"bits": 16, "kind": 3}, "16-bit float; wanted PCM"),
        ({"bits": 16, "kind": 7}, "16-bit format 7"),
        ({"channels": 2}, "has 2 channels; wanted 1"),
        ({"channels": 0}, r"has 0 channels; wanted 1\. Download it again"),
        ({"rate": 0}, "a rate of 0 Hz; wanted 100 to 1,000,000 Hz"),
        ({"rate": 1}, "a rate of 1 Hz"),
        ({"rate": 2_000_000_000}, "a rate of 2,000,000,000 Hz"),
        ({"n": 0}, "has no samples"),
    ],
)
def test_wav_of_the_wrong_sort(tmp_path: Path, options: dict, said: str) -> None:
    with pytest.raises(CorruptFileError, match=said):
        wav_info(sounds.wav(tmp_path / "a.wav", **options))


def test_wav_at_the_wrong_rate(tmp_path: Path) -> None:
    path = sounds.wav(tmp_path / "a.wav", rate=8000)
    with pytest.raises(CorruptFileError, match="is at 8000 Hz; wanted 4000 Hz"):
        read_wav(path, rate=4000)
    assert read_wav(path)[1] == 8000


def test_empty_and_absent_and_no_wav(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with pytest.raises(LayoutError, match=r"a\.wav is missing"):
        read_wav(path)
    path.write_bytes(b"")
    with pytest.raises(CorruptFileError, match="is an empty file"):
        read_wav(path)
    for body in (b"ID3\x04" + bytes(40), b"RIFF"):
        path.write_bytes(body)
        with pytest.raises(CorruptFileError, match="is not a WAV file"):
            read_wav(path)
    path.write_bytes(b"RIFF" + struct.pack("<I", 4) + b"WAVE")
    with pytest.raises(CorruptFileError, match="no format chunk"):
        read_wav(path)


def test_not_a_number(tmp_path: Path) -> None:
    samples = np.array([0.5, np.nan, -0.25, np.inf])
    with pytest.raises(CorruptFileError, match=r"not finite \(NaN\): 2"):
        read_wav(sounds.float_wav(tmp_path / "a.wav", samples))
    good, rate = read_wav(sounds.float_wav(tmp_path / "b.wav", np.array([0.5, -0.25])))
    assert (good.tolist(), rate) == ([0.5, -0.25], 4000)


def test_chunks_of_other_programs_are_skipped(tmp_path: Path) -> None:
    body = np.array([1, -2, 32767, -32768], dtype="<i2").tobytes()
    extra = b"bext" + struct.pack("<I", 6) + b"abcdef"
    samples, _ = read_wav(sounds.wav(tmp_path / "a.wav", body=body, before=extra))
    assert samples.dtype == np.float32
    assert (samples * 32768).tolist() == [1, -2, 32767, -32768]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is an empty file"),
        ("a 1 4000\n", "not a header"),
        ("a 2 4000 10\na.wav 16+44 1 16 0 0 0 0 PCG\n", "promises 2 signals .* describes 1"),
        ("a x 4000 10\n", "not a header"),
        ("a 1 0 10\na.wav 16+44 1 16 0 0 0 0 PCG\n", "at 0 Hz"),
    ],
)
def test_headers(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.hea"
    path.write_text(text)
    with pytest.raises(CorruptFileError, match=said):
        read_wfdb_header(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (" 4000 ", " 2000 ", "disagree on the rate in Hz: 2000 and 4000"),
        (r" 4000 \d+", " 4000 77", r"disagree on the number of samples: 77 and \d+"),
        (r"\n\w+\.wav", "\nother.wav", r"disagree on the file: other\.wav and"),
    ],
)
def test_header_and_audio_disagree(circor: Path, old: str, new: str, said: str) -> None:
    path = next((circor / "training_data").glob("*_*.hea"))
    path.write_bytes(re.sub(old, new, path.read_bytes().decode(), count=1).encode())
    refused(CircorSource, circor, said)


def test_ecg(cinc: Path) -> None:
    path = next((cinc / "training-a").glob("*.dat"))
    header = read_wfdb_header(path.with_suffix(".hea"))
    assert read_dat(path, header, "ECG").max() > 0.5
    with pytest.raises(CorruptFileError, match="no signal 'EEG'"):
        read_dat(path, header, "EEG")
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CorruptFileError, match="bytes; its header promises"):
        read_dat(path, header, "ECG")
    path.with_suffix(".hea").unlink()
    refused(Cinc2016Source, cinc, f"{path.stem}.dat cannot be read without it", LayoutError)


# --- states ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0\t1\t1\n0.5\t2\t2\n", "row 2 starts at 0.5 s, before the row above ends"),
        ("1\t2\t1\n0\t1\t2\n", "out of order or overlap"),
        ("0\t1\t1\n2\t1.5\t2\n", "row 2: from 2 s to 1.5 s"),
        ("-1\t1\t1\n", "row 1: from -1 s"),
        ("0\t1\t5\n", r"state \['5'\]; wanted 0 to 4"),
        ("0\t1\n", "is not a start, an end and a state"),
        ("0\tnan\t1\n", "is not a start, an end and a state"),
        ("a\tb\tc\n", "row 1: 'a"),
        ("", "is an empty file"),
    ],
)
def test_states_of_circor(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "1_AV.tsv"
    path.write_text(text)
    with pytest.raises(CorruptFileError, match=said):
        read_states(path)


def test_states_tolerate_what_is_published(tmp_path: Path) -> None:
    path = tmp_path / "1_AV.tsv"
    path.write_bytes(b"0\t0\t28")
    assert read_states(path) == ()
    path.write_bytes(b"0\t1\t0\r\n1\t1.2\t1\r\n1.188\t1.5\t2\r\n1.5\t1.5\t0\r\n")
    assert read_states(path) == ((1.0, 1.2, 0), (1.188, 1.5, 1))


def cells(*marks: tuple[int, str]) -> np.ndarray:
    out = np.empty((len(marks), 2), dtype=object)
    for i, (at, word) in enumerate(marks):
        inner = np.empty((1, 1), dtype=object)
        inner[0, 0] = word
        out[i] = [np.array([[at]]), inner]
    return out


def test_state_marks_of_cinc2016(tmp_path: Path) -> None:
    path = tmp_path / "a0001_StateAns.mat"
    savemat(path, {"state_ans": cells((1, "(N"), (201, "S1"), (401, "systole"), (801, "N)"))})
    assert read_state_ans(path, 2000) == ((0.1, 0.2, 0), (0.2, 0.4, 1))
    for marks, said in (
        ([(201, "S1"), (101, "systole")], "out of order"),
        ([(1, "S5")], "state 'S5'; possible: S1"),
        ([(3000, "S1")], "out of order"),
    ):
        savemat(path, {"state_ans": cells(*marks)})
        with pytest.raises(CorruptFileError, match=said):
            read_state_ans(path, 2000)
    for body in (b"no mat", b""):
        path.write_bytes(body)
        with pytest.raises(CorruptFileError, match="holds no table 'state_ans'"):
            read_state_ans(path, 2000)
    savemat(path, {"state_ans": cells((1, "S1"), (201, "systole"))}, do_compression=True)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CorruptFileError, match="holds no table 'state_ans'"):
        read_state_ans(path, 2000)
    savemat(path, {"other": 1})
    with pytest.raises(CorruptFileError, match="holds no table 'state_ans'"):
        read_state_ans(path, 2000)


def test_marks_of_terabytes_are_refused_by_their_header(tmp_path: Path) -> None:
    path = tmp_path / "a0001_StateAns.mat"
    savemat(path, {"state_ans": cells(*((1 + k, "S1") for k in range(7)))})
    raw, shape = path.read_bytes(), struct.pack("<2i", 7, 2)
    assert raw.count(shape) == 1
    path.write_bytes(raw.replace(shape, struct.pack("<2i", 2_000_000, 2)))
    with pytest.raises(CorruptFileError, match=r"it claims \(2000000, 2\) cells"):
        read_state_ans(path, 2000)


# --- CirCor ---


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


def first(circor: Path, what: str = "*[0-9].txt") -> Path:
    return min((circor / "training_data").glob(what))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace(" 4000", " 2000", 1), "starts with .*; wanted"),
        (lambda t: re.sub(r"^(\d+) \d+", r"\1 9", t), "promises 9 recordings"),
        (lambda t: re.sub(r"(?m)^(AV|PV|TV|MV) ", "XX ", t), "one of them is not a place"),
        (
            lambda t: re.sub("#Murmur: .*", "#Murmur: Maybe", t),
            "says Murmur 'Maybe'; possible: Present, Unknown, Absent",
        ),
        (
            lambda t: re.sub("#Outcome: .*\n", "", t),
            "says Outcome 'nan'; possible: Abnormal, Normal",
        ),
        (lambda t: "", "starts with ''"),
    ],
)
def test_patient_files(circor: Path, change: Callable[[str], str], said: str) -> None:
    edit(first(circor), change)
    refused(CircorSource, circor, said)


def test_an_optional_fact_that_is_no_number_costs_that_fact(circor: Path) -> None:
    edit(first(circor), lambda t: re.sub("#Height: .*", "#Height: tall", t))
    source = CircorSource(circor)
    name = first(circor).stem
    assert all("height" not in r.meta for r in source.records() if r.meta["id"] == name)
    assert "1 height or weight is not a number and is left out" in source.remarks()[0]
    assert "'tall'" in source.remarks()[0]


def test_a_wrong_attribute_concerns_the_tasks_that_need_it(circor: Path) -> None:
    texts = sorted((circor / "training_data").glob("*[0-9].txt"))
    path = next(p for p in texts if "#Murmur: Present" in p.read_text())
    edit(path, lambda t: re.sub("timing: .*", "timing: Sometimes", t, count=1))
    source = CircorSource(circor)
    record = next(r for r in source.records() if r.meta["id"] == path.stem)
    assert source.answers(record, source.card.target("murmur"))
    with pytest.raises(CorruptFileError, match=f"{path.stem} has the timing.*'Sometimes'"):
        source.answers(record, source.card.target("timing"))


def test_table_with_labels_for_unknown_patients(circor: Path) -> None:
    table = circor / "training_data.csv"
    edit(table, lambda t: t + "99999" + t.splitlines()[-1].lstrip("0123456789") + "\n")
    refused(
        CircorSource,
        circor,
        r"labels for 1 patients without files, first 99999: .*99999\.txt is missing",
        LayoutError,
    )


def test_table_without_a_patient_and_table_that_disagrees(circor: Path) -> None:
    table = circor / "training_data.csv"
    text = table.read_text()
    table.write_text("".join(text.splitlines(keepends=True)[:-1]))
    refused(CircorSource, circor, "has no row for")
    other = (
        text.replace("Abnormal", "Normal")
        if "Abnormal" in text
        else text.replace(",Normal", ",Abnormal")
    )
    table.write_text(other)
    refused(CircorSource, circor, "says Outcome 'Normal' of .*, its .txt says 'Abnormal'")


def test_recordings_that_nobody_lists_or_that_are_missing(circor: Path) -> None:
    stray = circor / "training_data" / "77777_AV.wav"
    shutil.copy(first(circor, "*.wav"), stray)
    refused(
        CircorSource,
        circor,
        r"77777_AV\.wav is a recording that no patient's \.txt lists.* is 77777\.txt missing",
        LayoutError,
    )
    stray.unlink()
    gone = first(circor, "*.wav")
    gone.unlink()
    refused(CircorSource, circor, f"{gone.name} is missing", LayoutError)


@pytest.mark.parametrize("source", [CircorSource, Cinc2016Source])
def test_folders(tmp_path: Path, source: type) -> None:
    with pytest.raises(
        DataNotFoundError, match=r"nowhere is not a folder\. Pass the folder that contains"
    ):
        source(tmp_path / "nowhere")
    with pytest.raises(LayoutError, match="it is empty"):
        source(tmp_path)
    (tmp_path / "x").write_text("x")
    with pytest.raises(LayoutError, match=r"training_data is missing|training-a is missing"):
        source(tmp_path)
    (tmp_path / "training_data").mkdir()
    (tmp_path / "training-a").mkdir()
    refused(source, tmp_path, r"has no patient|REFERENCE\.csv is missing", LayoutError)


# --- CinC 2016 ---


def _line(change: Callable[[str], str]) -> Callable[[str], str]:
    """Change the first line."""
    return lambda text: change(text.split("\n")[0]) + "\n" + "\n".join(text.split("\n")[1:])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_line(lambda r: r + "9"), r"line 1: 'a0001,-?19'; wanted"),
        (_line(lambda r: r.replace("a0001", "x1")), "line 1: 'x1"),
        (_line(lambda r: r + ",2"), "a quality of 0"),
        (_line(lambda r: f"{r}\n{r}"), "lists a0001 twice, on line 2"),
        (_line(lambda r: r[:-1] if r.endswith("-1") else r.replace(",1", ",-1")), "a0001|line 1"),
        (lambda t: "", "is empty: there are no labels"),
    ],
)
def test_reference_tables(cinc: Path, change: Callable[[str], str], said: str) -> None:
    edit(cinc / "training-a" / "REFERENCE.csv", change)
    refused(Cinc2016Source, cinc, said)


def test_labels_without_recordings_and_recordings_without_labels(cinc: Path) -> None:
    table = cinc / "training-c" / "REFERENCE.csv"
    text = table.read_text()
    table.write_text(text + "c0099,1\n")
    refused(Cinc2016Source, cinc, r"c0099\.wav is missing, which REFERENCE.csv labels", LayoutError)
    table.write_text(text.splitlines()[0] + "\n")
    refused(Cinc2016Source, cinc, r"REFERENCE\.csv has no label for c0002\.wav", LayoutError)


def test_copies_that_are_none(cinc: Path) -> None:
    copy = next((cinc / "validation").glob("a*.wav"))
    copy.write_bytes(copy.read_bytes()[:-20])
    refused(Cinc2016Source, cinc, f"{copy.name} is published as a copy of .* and differs")
    edit(
        cinc / "validation" / "REFERENCE.csv",
        _line(lambda r: r.split(",")[0] + (",1" if "-1" in r else ",-1")),
    )
    refused(Cinc2016Source, cinc, r"is labelled -?1 in training-a and -?1 in validation")
    edit(cinc / "validation" / "REFERENCE.csv", lambda t: t + "f0001,1\n")
    refused(
        Cinc2016Source,
        cinc,
        r"(?s)f0001\.wav is missing, and no training folder has f0001|is labelled",
        EtabError,
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.replace("Challenge record name", "name"),
            "has no column 'Challenge record name'",
        ),
        (lambda t: t + t.splitlines()[-1] + "\n", "twice"),
        (
            lambda t: t.replace("MVP ,1,", "MVP ,-1,"),
            "is 1 in training-a/REFERENCE.csv and -1 in Online_Appendix_training_set",
        ),
    ],
)
def test_appendix(cinc: Path, change: Callable[[str], str], said: str) -> None:
    edit(cinc / "annotations" / "Online_Appendix_training_set.csv", change)
    refused(Cinc2016Source, cinc, said)


def test_an_appendix_that_lost_its_rows_withdraws_nobody(made: Path, cinc: Path) -> None:
    folder = shutil.copytree(made / "all" / "cinc2016" / "training-e", cinc / "training-e")
    one = next(folder.glob("*.wav"))
    more = [f"e{50_000 + i}" for i in range(90)]
    for name in more:
        shutil.copy(one, folder / f"{name}.wav")
    edit(folder / "REFERENCE.csv", lambda t: t + "".join(f"{name},-1\n" for name in more))
    refused(
        Cinc2016Source, cinc, "no row for 91 recordings of training-e; the organisers withdrew 87"
    )
