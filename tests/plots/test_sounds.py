"""Pictures of heart sounds show what they are given, where it is; clips hold the sound; wrong arguments are refused."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from scipy.io import wavfile

from etab.datasets.circor import CircorSource
from etab.errors import UnsupportedOptionError
from etab.plots.sounds import STATE_COLOURS, listen, plot_mel, plot_states, runs_between
from etab.sounds.mel import log_mel

RATE = 4000
STATES = np.repeat([-1, 0, 1, 2, 3, 0, -1], [10, 6, 14, 5, 30, 6, 29])  # 2 s at 50 Hz


def tone(hz: float = 200.0, seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    return (0.25 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def spans(panel) -> list[tuple[float, float, str]]:
    """(from, to, state) of the coloured stretches of a panel."""
    names = {to_rgba(colour)[:3]: name for name, colour in STATE_COLOURS.items()}
    found = []
    for patch in panel.patches:
        box = patch.get_window_extent().transformed(panel.transData.inverted())
        found.append((round(box.x0, 3), round(box.x1, 3), names[patch.get_facecolor()[:3]]))
    return found


TRUE = [
    (0.2, 0.32, "S1"),
    (0.32, 0.6, "systole"),
    (0.6, 0.7, "S2"),
    (0.7, 1.3, "diastole"),
    (1.3, 1.42, "S1"),
]


def test_states_are_where_they_are_and_the_unannotated_stays_bare() -> None:
    figure = plot_states(tone(), RATE, STATES, {"mine": np.roll(STATES, 5)})
    wave, reference, mine = figure.axes
    assert spans(wave) == TRUE
    assert spans(reference) == TRUE
    assert spans(mine) == [(round(a + 0.1, 3), round(b + 0.1, 3), name) for a, b, name in TRUE]
    assert [panel.get_ylabel() for panel in (reference, mine)] == ["reference", "mine"]
    assert wave.get_xlim() == (0, 2)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *STATE_COLOURS,
        "unannotated",
    ]


def test_a_stretch_cuts_everything_alike() -> None:
    figure = plot_states(tone(), RATE, STATES, start=0.5, seconds=0.5)
    wave, strip = figure.axes
    wanted = [(0.5, 0.6, "systole"), (0.6, 0.7, "S2"), (0.7, 1.0, "diastole")]
    assert spans(wave) == spans(strip) == wanted
    x = wave.lines[0].get_xdata()
    assert (x[0], len(x)) == (0.5, 2000)
    assert np.array_equal(wave.lines[0].get_ydata(), tone()[2000:4000])
    assert runs_between(np.array([0, 0, 1]), 0.0, 1.0) == [(0.0, 0.04, 0), (0.04, 0.06, 1)]


def test_long_sounds_keep_their_peaks() -> None:
    sound = tone(seconds=30)
    sound[71_234] = 0.97
    panel = plot_states(sound, RATE).axes[0]
    assert len(panel.lines) == 0
    box = panel.collections[0].get_paths()[0].get_extents()
    assert box.y1 == pytest.approx(0.97)
    assert (box.x0, box.x1) == (0, pytest.approx(30, abs=0.01))
    assert panel.get_ylim()[1] == pytest.approx(1.05 * 0.97)


def test_the_log_mel_is_that_of_the_models_and_the_tone_is_at_its_frequency() -> None:
    figure = plot_mel(tone(400), RATE, STATES, start=0.5, seconds=1.0)
    panel, strip = figure.axes[:2]
    shown = panel.images[0]
    assert np.asarray(shown.get_array()) == pytest.approx(
        80 * (log_mel(tone(400)[2000:6000], RATE) - 1)
    )
    assert panel.get_xlim() == (0.5, 1.5)
    row = int(np.asarray(shown.get_array()).mean(axis=1).argmax())
    height = shown.get_extent()[3] - row - 0.5
    marks = dict(
        zip([t.get_text() for t in panel.get_yticklabels()], panel.get_yticks(), strict=True)
    )
    assert abs(height - marks["400"]) <= 1
    assert list(marks) == ["50", "100", "200", "400", "800"]
    assert spans(strip)[0] == (0.5, 0.6, "systole")
    low = plot_mel(tone(100, rate=1000), 1000)
    assert [t.get_text() for t in low.axes[0].get_yticklabels()] == ["50", "100", "200", "400"]


def test_pictures_are_saved(tmp_path: Path) -> None:
    from PIL import Image

    plot_states(tone(), RATE, STATES, path=tmp_path / "deep" / "a.png", title="one")
    plot_mel(tone(), RATE, path=tmp_path / "b.png")
    for path in (tmp_path / "deep" / "a.png", tmp_path / "b.png"):
        with Image.open(path) as image:
            assert image.size[0] == 1300
            assert (
                len(
                    set(
                        image.convert("L").getdata()
                        if not hasattr(image, "get_flattened_data")
                        else image.convert("L").get_flattened_data()
                    )
                )
                > 20
            )


def heard(clip) -> tuple[int, np.ndarray]:
    return wavfile.read(io.BytesIO(clip.data))


def test_a_clip_holds_the_stretch_and_fades_at_its_ends(tmp_path: Path) -> None:
    sound = tone()
    rate, out = heard(listen(sound, RATE, start=0.5, seconds=1.0, gain=2.0))
    assert rate == 8000, "players need 8000 Hz"
    assert len(out) == 8000
    assert out.dtype == np.int16
    middle = slice(200, -200)
    assert out[::2][middle] / 32767 == pytest.approx(2 * sound[2000:6000][middle], abs=0.01)
    assert out[0] == 0
    assert np.abs(out[:20]).max() < 0.3 * np.abs(out).max()
    assert np.abs(heard(listen(sound, RATE))[1]).max() == pytest.approx(0.9 * 32767, rel=0.03)
    loud = heard(listen(sound, RATE, gain=100.0))[1]
    assert (loud.max(), loud.min()) == (32767, -32767), "clipped, not wrapped"
    assert not heard(listen(np.zeros(4000, np.float32), RATE))[1].any()
    assert wavfile.read(listen(sound, RATE).save(tmp_path / "x" / "a.wav"))[0] == 8000


def test_slower_is_lower_and_longer() -> None:
    rate, out = heard(listen(tone(200), RATE, slower=2.0))
    assert len(out) / rate == pytest.approx(4.0)
    spectrum = np.abs(np.fft.rfft(out))
    assert np.fft.rfftfreq(len(out), 1 / rate)[spectrum.argmax()] == pytest.approx(100, abs=1)


def test_notebooks_show_a_player() -> None:
    clip = listen(tone(), RATE)
    found = re.search(r'src="data:audio/wav;base64,([^"]+)"', clip._repr_html_())
    assert base64.b64decode(found[1]) == clip.data
    display = pytest.importorskip("IPython.display")
    assert display.Audio(data=clip.data).data == clip.data


def test_notebooks_show_the_picture() -> None:
    """Also where nobody has imported pyplot, which is what teaches a notebook to show figures."""
    assert plot_states(tone(), RATE, STATES)._repr_png_().startswith(b"\x89PNG")
    assert plot_mel(tone(), RATE)._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"samples": np.zeros((2, 100))}, r"sound has shape \(2, 100\)"),
        ({"samples": np.zeros(0)}, r"shape \(0,\)"),
        ({"samples": np.full(8000, np.nan)}, "finite"),
        ({"rate": 0}, "rate is 0 Hz"),
        ({"start": -1}, "start=-1"),
        ({"start": 2.5}, "no part of a sound of 2.00 s"),
        ({"seconds": 0}, "seconds=0"),
        ({"states": STATES[:50]}, "wanted about 100 states"),
        ({"states": STATES + 2}, "states of -1 to 3"),
    ],
)
def test_wrong_arguments(options, said: str) -> None:
    given = {"samples": tone(), "rate": RATE, **options}
    for draw in (plot_states, plot_mel):
        with pytest.raises(UnsupportedOptionError, match=said):
            draw(
                given["samples"],
                given["rate"],
                **{k: v for k, v in given.items() if k not in ("samples", "rate")},
            )
    if "states" not in options:
        with pytest.raises(UnsupportedOptionError, match=said):
            listen(
                given["samples"],
                given["rate"],
                **{k: v for k, v in given.items() if k in ("start", "seconds")},
            )


def test_wrong_predictions_and_gains() -> None:
    with pytest.raises(UnsupportedOptionError, match="HSMM has shape"):
        plot_states(tone(), RATE, STATES, {"HSMM": STATES[:20]})
    for options in ({"gain": 0}, {"slower": 0}, {"slower": float("nan")}):
        with pytest.raises(UnsupportedOptionError, match="above 0"):
            listen(tone(), RATE, **options)


@pytest.mark.real
def test_a_real_recording(real_data: Path, tmp_path: Path) -> None:
    source = CircorSource(real_data / "circor")
    record = source.records()[0]
    samples, rate = source.wave(record)
    states = source.answers(record, source.card.target("states"))[0].value
    plot_states(samples, rate, states, path=tmp_path / "a.png")
    plot_mel(samples, rate, states, path=tmp_path / "b.png")
    assert len(listen(samples, rate).data) > 2 * len(samples)
