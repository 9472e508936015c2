"""CirCor as Parquet: rows are stretches, labels are the official ones; what makes ``processed``; bad files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from etab import phantom
from etab.datasets.circor import CircorSource
from etab.datasets.circor_parquet import CircorParquetSource, CircorProcessedSource
from etab.datasets.dataset import Dataset
from etab.datasets.integrity.canonical import load as canonical_split
from etab.errors import (
    CorruptFileError,
    DataNotFoundError,
    LayoutError,
    MissingPackageError,
    UnsupportedOptionError,
)
from etab.phantom.sound_files import wav_bytes
from etab.phantom.sound_parquet import convert_circor
from etab.readers.audio import decode_wav
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.sounds.denoise import causal_band, processed, shrink
from etab.tasks.menu import find
from etab.testing.datasets import check_dataset
from tests.trees.sounds import small_circor, wav

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
pytest.importorskip("pywt", reason="PyWavelets is not installed")

BOTH = [CircorParquetSource, CircorProcessedSource]
FILE = "data/original-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def made(phantom_tree: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CirCor in both layouts: circor/ and circor_hf/."""
    folder = tmp_path_factory.mktemp("parquet")
    small_circor(phantom_tree(["circor"], seed=7) / "circor", folder / "circor", (1, 2, 3, 4, 5))
    convert_circor(folder / "circor", folder / "circor_hf", mark="phantom")
    shutil.copy(folder / "circor" / "PHANTOM", folder / "circor_hf")
    return folder


@pytest.fixture
def tree(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made / "circor_hf", tmp_path / "t")


def read_all(source: CircorParquetSource) -> None:
    for record in source.records():
        source.wave(record)


def changed(root: Path, change, file: str = FILE) -> Path:
    """Rewrite a file after ``change`` of its columns."""
    table = pq.read_table(root / file)
    columns = table.to_pydict()
    change(columns)
    schema = pa.schema([table.schema.field(name) for name in columns])
    pq.write_table(pa.table(columns, schema=schema), root / file)
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [CircorParquetSource, pytest.param(CircorProcessedSource, marks=pytest.mark.slow)],
)
def test_contract(made: Path, source: type) -> None:
    check_dataset(source, made / "circor_hf")


def test_the_phantom_tree_is_written_by_name(tmp_path: Path) -> None:
    phantom.write(tmp_path, patients=12, seed=7, names=["circor_hf"])
    assert sorted(p.name for p in (tmp_path / "circor_hf").rglob("*")) == [
        "PHANTOM",
        "data",
        "original-00000-of-00001.parquet",
        "processed-00000-of-00001.parquet",
        "training_data.csv",
    ]
    source = CircorParquetSource(tmp_path / "circor_hf")
    assert len({r.meta["id"] for r in source.records()}) == 12
    (tmp_path / "circor_hf" / "PHANTOM").unlink()
    assert CircorParquetSource(tmp_path / "circor_hf").phantom, "the files say it too"
    assert "circor_hf" not in phantom.NAMES, "'all' works without the extra packages"


def test_rows_say_what_the_original_layout_says(made: Path) -> None:
    rows, whole = CircorParquetSource(made / "circor_hf"), CircorSource(made / "circor")
    recordings = {r.id: r for r in whole.records()}
    annotated = [r for r in recordings.values() if whole.intervals(r)]
    assert [r.id for r in rows.records()] == sorted(r.id for r in annotated), (
        "the recording '0 0 28' has no row"
    )
    for record in rows.records():
        twin = recordings[record.id]
        assert (record.patient, record.view, record.meta["id"]) == (
            twin.patient,
            twin.view,
            twin.meta["id"],
        )
        start, end = whole.intervals(twin)[0][0], whole.intervals(twin)[-1][1]
        a, b = round(start * 4000), round(end * 4000)
        assert np.array_equal(rows.wave(record)[0], whole.wave(twin)[0][a:b])
        assert len(rows.intervals(record)) == len(whole.intervals(twin))
        shift = np.array(whole.intervals(twin)) - np.array(rows.intervals(record))
        assert np.abs(shift - [start, start, 0]).max() < 1e-3
        for target in ("murmur", "outcome", "murmur_here", "grade"):
            one, two = (
                s.answers(r, s.card.target(target)) for s, r in ((rows, record), (whole, twin))
            )
            assert one == two, target
    people = {r.patient for r in rows.records()}
    assert len(people) == len({r.meta["id"] for r in rows.records()}) - 1, "two ids are one person"


def test_the_files_own_labels_are_not_used_and_that_is_said(tree: Path) -> None:
    before = CircorParquetSource(tree)
    assert "official outcome in 0 of" in before.notes()[1]
    n = len(before.records())
    flipped = changed(
        tree, lambda c: c.update(recording_label=[1 - v for v in c["recording_label"]])
    )
    after = CircorParquetSource(flipped)
    assert f"official outcome in {n} of {n} rows" in after.notes()[1]
    target = before.card.target("outcome")
    assert [after.answers(r, target) for r in after.records()] == [
        before.answers(r, target) for r in before.records()
    ]


def test_further_stretches_and_shards(tree: Path) -> None:
    table = pq.read_table(tree / FILE)
    (tree / FILE).unlink()
    names = table.column("filename").to_pylist()
    names[1], names[2] = names[0] + "_1", names[0]
    table = table.set_column(0, "filename", pa.array(names))
    for i, part in enumerate((table.slice(0, 3), table.slice(3))):
        pq.write_table(part, tree / f"data/original-0000{i}-of-00002.parquet", row_group_size=2)
    source = CircorParquetSource(tree)
    assert [r.id for r in source.records()][:3] == [names[0], f"{names[0]}_1", f"{names[0]}~2"]
    lengths = [len(row) for row in table.column("heart_state_labels").to_pylist()]
    assert [source.n_samples(r) for r in source.records()] == lengths
    (tree / "data/original-00001-of-00002.parquet").unlink()
    with pytest.raises(
        LayoutError, match=r"original-00001-of-00002\.parquet is missing, of 2 files"
    ):
        CircorParquetSource(tree)


def test_windows_and_pictures_of_rows(made: Path) -> None:
    x, y = Dataset(
        "circor_hf", "states", root=made / "circor_hf", video=True, fps=1000, clip_l=2000
    )[0]
    assert x.shape == (2000,)
    assert y.shape == (100,)
    assert (y >= 0).all(), "a row is annotated throughout"
    assert Dataset("circor_hf_processed", "murmur", root=made / "circor_hf")[0][0].shape == (
        3,
        224,
        224,
    )


@pytest.mark.parametrize("rate", [1000, 2000, 4000])
def test_processed_rows_with_the_names_and_rates_of_the_upload(tree: Path, rate: int) -> None:
    """``39456_PV.wav`` and ``39456_PV.wav_1``, downsampled: states and heart rates stay."""
    whole = CircorProcessedSource(tree)
    wanted = [whole.intervals(record) for record in whole.records()]
    file = "data/processed-00000-of-00001.parquet"

    def publish(columns: dict) -> None:  # type: ignore[type-arg]
        step = 4000 // rate
        for i, cell in enumerate(columns["recording"]):
            samples, _ = decode_wav(cell["bytes"], "a row")
            low = np.round(np.asarray(samples)[::step] * 32768).astype(np.int16)
            columns["recording"][i] = {**cell, "bytes": wav_bytes(low, rate, "phantom")}
            columns["heart_state_labels"][i] = columns["heart_state_labels"][i][::step]
        columns["filename"] = [f"{name}.wav" for name in columns["filename"]]
        columns["filename"][1] = columns["filename"][0] + "_1"

    source = CircorProcessedSource(changed(tree, publish, file))
    first = whole.records()[0].id
    assert [record.id for record in source.records()][:2] == [first, f"{first}~2"]
    for record, intervals in zip(source.records(), wanted, strict=True):
        samples, found = source.wave(record)
        assert (found, record.fps) == (rate, rate)
        assert len(samples) == source.n_samples(record)
        shift = np.array(source.intervals(record)) - np.array(intervals)
        assert np.abs(shift).max() <= 1 / rate


def test_processed_rows_of_two_rates_are_refused(tree: Path, tmp_path: Path) -> None:
    file = "data/processed-00000-of-00001.parquet"
    other = wav(tmp_path / "x.wav", rate=2000).read_bytes()
    changed(tree, lambda columns: columns["recording"][1].update(bytes=other), file)
    with pytest.raises(CorruptFileError, match="is at 2000 Hz; wanted 4000 Hz"):
        read_all(CircorProcessedSource(tree))


# --- bad files ---


def test_without_the_official_table_states_are_served(tree: Path, made: Path) -> None:
    whole = CircorParquetSource(made / "circor_hf")
    (tree / "training_data.csv").unlink()
    alone = CircorParquetSource(tree)
    states = alone.card.target("states")
    assert [record.id for record in alone.records()] == [record.id for record in whole.records()]
    first = alone.records()[0]
    (expected,) = whole.answers(whole.records()[0], states)
    (answer,) = alone.answers(first, states)
    assert (answer.value == expected.value).all()
    assert first.patient == first.meta["id"], "phantom ids are in no list of people"
    assert "no official labels of murmur and outcome" in alone.notes()[1]
    (label,) = alone.answers(first, alone.card.target("recording_label"))
    assert label.value == first.meta["recording_label"]
    assert alone.shared_files() == ()
    with pytest.raises(
        LayoutError, match=r"training_data\.csv is missing: murmur, outcome and what"
    ):
        alone.answers(first, alone.card.target("murmur"))
    for letter, name in (("H", "circor_hf"), ("G", "circor_hf_processed")):
        codes = {task.code for task in find(name)}
        assert codes == {f"{task}-AL-{letter}" for task in ("e0", "e1", "f0", "f1")}


def test_people_are_joined_without_the_official_table(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "training_data.csv").unlink()
    ids = sorted({record.meta["id"] for record in CircorParquetSource(tree).records()})
    listed = replace(canonical_split("circor"), places={ids[0]: "one", ids[1]: "one"})
    monkeypatch.setattr("etab.datasets.circor_parquet.canonical_split", lambda _: listed)
    monkeypatch.setattr(CircorParquetSource, "phantom", False)
    people = {r.meta["id"]: r.patient for r in CircorParquetSource(tree).records()}
    assert (people[ids[0]], people[ids[1]], people[ids[2]]) == ("one", "one", ids[2])


@pytest.mark.slow
def test_runs_without_the_official_table(phantom_tree: Callable[..., Path], tmp_path: Path) -> None:
    tree = shutil.copytree(phantom_tree(["circor_hf"], 24) / "circor_hf", tmp_path / "circor_hf")
    (tree / "training_data.csv").unlink()
    settings = Settings(root=tree, results=tmp_path / "results")
    (result,) = execute(plan("f0-AL-H", ["mel_stats"], protocols=("cv",), n_fold=2), settings)
    assert 0 <= result.value <= 1
    with pytest.raises(
        LayoutError, match=r"training_data\.csv is missing: murmur, outcome and what"
    ):
        list(execute(plan("f1-AL-H", ["mel_stats"], protocols=("cv",), n_fold=2), settings))


def test_a_label_that_is_none_is_named(tree: Path) -> None:
    changed(tree, lambda c: c["recording_label"].__setitem__(0, 7))
    source = CircorParquetSource(tree)
    with pytest.raises(CorruptFileError, match="recording_label 7; wanted 0 for normal or 1"):
        source.answers(source.records()[0], source.card.target("recording_label"))


def test_folders_that_are_none(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="nowhere is not a folder"):
        CircorParquetSource(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LayoutError, match=r"empty has no processed-\*\.parquet"):
        CircorProcessedSource(tmp_path / "empty")
    assert CircorParquetSource(tree / "data").root == tree
    (tree / FILE).write_bytes((tree / FILE).read_bytes()[:3000])
    with pytest.raises(CorruptFileError, match="cannot be read as Parquet"):
        CircorParquetSource(tree).records()
    (tree / FILE).write_bytes(b"")
    with pytest.raises(CorruptFileError, match="cannot be read as Parquet"):
        CircorParquetSource(tree).records()


def test_damage_inside_a_file_is_found_when_it_is_read(tree: Path) -> None:
    data = bytearray((tree / FILE).read_bytes())
    data[200:6000] = bytes(5800)
    (tree / FILE).write_bytes(data)
    source = CircorParquetSource(tree)
    with pytest.raises(CorruptFileError):
        read_all(source)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda c, d: c["filename"].__setitem__(0, "heart"),
            "'heart' is not a recording such as 13918_AV",
        ),
        (
            lambda c, d: c["filename"].__setitem__(0, "99999_AV"),
            "training_data.csv has no row for 99999",
        ),
        (lambda c, d: c.pop("heart_state_labels"), "no column 'heart_state_labels'"),
        (lambda c, d: c["heart_state_labels"][0].pop(), "samples and .* states"),
        (lambda c, d: c["heart_state_labels"][0].__setitem__(5, 7), "states other than 0 to 4"),
        (
            lambda c, d: c["heart_state_labels"].__setitem__(0, None),
            "states other than 0 to 4, or none",
        ),
        (lambda c, d: c["recording"].__setitem__(0, None), "holds no sound"),
        (lambda c, d: c["recording"][0].update(bytes=None), "holds no sound"),
        (lambda c, d: c["recording"][0].update(bytes=b"fLaC1234567890"), "is not a WAV file"),
        (
            lambda c, d: c["recording"][0].update(bytes=c["recording"][0]["bytes"][:999]),
            "is cut short",
        ),
        (
            lambda c, d: c["recording"][0].update(bytes=wav(d / "x.wav", rate=2000).read_bytes()),
            "is at 2000 Hz",
        ),
        (
            lambda c, d: c["recording"][0].update(bytes=wav(d / "x.wav", channels=2).read_bytes()),
            "2 channels",
        ),
    ],
)
def test_rows_that_are_refused(tree: Path, tmp_path: Path, change, said: str) -> None:
    changed(tree, lambda c: change(c, tmp_path))
    with pytest.raises(CorruptFileError, match=said):
        read_all(CircorParquetSource(tree))


def test_a_table_with_other_words(tree: Path) -> None:
    path = tree / "training_data.csv"
    path.write_text(path.read_text().replace("Absent", "Silent", 1))
    with pytest.raises(
        CorruptFileError, match="says Murmur 'Silent'; possible: Present, Unknown, Absent"
    ):
        CircorParquetSource(tree).records()


def test_missing_packages_name_the_extra(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pywt", None)
        with pytest.raises(MissingPackageError, match=r'pip install "etab-bench\[parquet\]"'):
            shrink(np.zeros(64))
    for name in [n for n in sys.modules if n.startswith("pyarrow.parquet")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        MissingPackageError, match=r'needs pyarrow: pip install "etab-bench\[parquet\]"'
    ):
        CircorParquetSource(tree).records()


# --- processed ---


def test_shrinkage_by_hand() -> None:
    """Haar, one level: details of 0.1 noise are below the threshold and vanish, a step of 8 shrinks by it."""
    x = np.array([1.0, 1.2, 2.0, 2.2, 3.0, 3.2, 9.0, 1.0])
    details = (x[::2] - x[1::2]) / np.sqrt(2)
    limit = np.median(np.abs(details)) / 0.6745 * np.sqrt(2 * np.log(8))
    kept = np.sign(details) * np.maximum(np.abs(details) - limit, 0)
    mean = (x[::2] + x[1::2]) / np.sqrt(2)
    wanted = np.stack([mean + kept, mean - kept], axis=1).ravel() / np.sqrt(2)
    assert shrink(x, level=1) == pytest.approx(wanted, abs=1e-12)
    assert shrink(x, level=1)[:2] == pytest.approx([1.1, 1.1])


def test_processing_keeps_the_sounds_and_takes_the_noise() -> None:
    rng = np.random.default_rng(1)
    t = np.arange(16_001) / 4000
    beat = np.sin(2 * np.pi * 60 * t) * (np.sin(2 * np.pi * 1.2 * t) > 0.9)
    heard = (
        beat
        + 0.05 * rng.standard_normal(len(t))
        + 0.5 * np.sin(2 * np.pi * 5 * t)
        + 0.4 * np.sin(2 * np.pi * 900 * t)
    )
    out = processed(heard.astype(np.float32), 4000)
    assert out.shape == heard.shape
    assert out.dtype == np.float32
    power = np.abs(np.fft.rfft(out)) ** 2 / np.abs(np.fft.rfft(heard)) ** 2
    at = np.fft.rfftfreq(len(t), 1 / 4000)
    assert power[np.abs(at - 5).argmin()] < 0.01
    assert power[np.abs(at - 900).argmin()] < 0.1
    assert np.corrcoef(out[100:], beat[100:])[0, 1] > 0.8
    quiet = np.abs(out[np.convolve(np.abs(beat), np.ones(400), "same") == 0])
    assert quiet.std() < 0.02


def test_the_cut_offs_act_and_the_filter_is_causal() -> None:
    impulse = np.zeros(4000)
    impulse[1000] = 1
    assert np.all(causal_band(impulse, 4000)[:1000] == 0)
    gain = [
        np.abs(np.fft.rfft(causal_band(impulse, 4000, low=low, high=high)))
        for low, high in ((25, 400), (100, 200))
    ]
    assert gain[0][25] == pytest.approx(np.sqrt(0.5), abs=0.01)
    assert gain[0][400] == pytest.approx(np.sqrt(0.5), abs=0.01)
    assert gain[1][100] == pytest.approx(np.sqrt(0.5), abs=0.08)
    assert gain[1][25] < 0.1
    for options, said in (
        ({"low": 0}, "0 < low"),
        ({"high": 2000}, "high < 2000"),
        ({"low": 500}, "from 500 to 400"),
    ):
        with pytest.raises(UnsupportedOptionError, match=said):
            processed(impulse, 4000, **options)
    for options, said in (
        ({"wavelet": "har"}, "wavelet is 'har'"),
        ({"level": 0}, "levels 1 to 11"),
        ({"level": 12}, "level is 12"),
    ):
        with pytest.raises(UnsupportedOptionError, match=said):
            processed(impulse, 4000, **options)
    with pytest.raises(UnsupportedOptionError, match="1 samples have levels 1 to 0"):
        shrink(np.zeros(1))


def test_the_split_processed_is_made_of_original(made: Path) -> None:
    one, two = (source(made / "circor_hf") for source in BOTH)
    for a, b in zip(one.records()[:3], two.records()[:3], strict=True):
        assert a.id == b.id
        assert two.wave(b)[0] == pytest.approx(processed(one.wave(a)[0], 4000), abs=1 / 32768)
        assert one.intervals(a) == two.intervals(b)


@pytest.mark.real
def test_real_recordings_in_this_layout(real_data: Path, tmp_path: Path) -> None:
    """Real CirCor, converted: stretches as counted by hand, states and heart rates as in the original layout."""
    assert convert_circor(real_data / "circor", tmp_path / "t") == 163
    rows, whole = CircorParquetSource(tmp_path / "t"), CircorSource(real_data / "circor")
    assert not rows.phantom
    frames = {r.id: whole.answers(r, whole.card.target("states")) for r in whole.records()}
    total = sum(int((found[0].value >= 0).sum()) for found in frames.values() if found)
    mine = sum(len(rows.answers(r, rows.card.target("states"))[0].value) for r in rows.records())
    assert abs(total - mine) <= len(rows.records())
    assert "50782_MV_1" not in {r.id for r in rows.records()}
