"""Faults of the front ends and backbones of sound, of the readers of their weights, and of the features of windows."""

from tests.faults import Fault

OURS, FRONT, OPEN = (
    ("tests/backbones/test_sound.py",),
    ("tests/sounds/test_mel.py",),
    ("tests/backbones/test_sound_open.py",),
)
NETS, CONTROLS, SOUND = (
    "etab/backbones/sound/networks.py",
    "etab/backbones/sound/controls.py",
    "etab/backbones/sound/named.py",
)
CONTAINERS, WEIGHTS, WINDOWS = (
    "etab/backbones/weights/containers.py",
    "etab/backbones/weights/index.py",
    "etab/features/windows.py",
)
IN_CONTAINERS = ("tests/backbones/test_containers.py",)
BATCHES = "etab/features/window_batches.py"
IN_WINDOWS = ("tests/features/test_windows.py",)
LITE = "etab/backbones/sound/birdnet.py"
MEL_POWER = "etab/backbones/sound/front_end.py"
MUSIC = "etab/backbones/sound/music_networks.py"
ENDS, WAVES, HUB, STORE = (
    "etab/sounds/mel.py",
    "etab/sounds/windows.py",
    "etab/backbones/sound/open.py",
    "etab/features/frames.py",
)


def _at(tests: tuple[str, ...], name: str) -> tuple[str, ...]:
    return (f"{tests[0]}::{name}",)


FAULTS = [
    Fault("audio: loudness is lost", ENDS, "power / whole", "power / power.max()", FRONT),
    Fault("audio: the floor is ignored", ENDS, "10 ** (-mel.floor_db / 10)", "1e-12", FRONT),
    Fault("audio: the hop is ignored", ENDS, "hop=mel.hop", "hop=0.016", FRONT),
    Fault(
        "audio: slaney bands without their norm",
        ENDS,
        "bank * (2 / (edges[2:] - edges[:-2]))[:, None]",
        "bank",
        FRONT,
    ),
    Fault("audio: slaney all linear", ENDS, "mels < start", "mels < 1e9", FRONT),
    Fault(
        "audio: the power is a magnitude",
        "etab/sounds/mel.py",
        "n_fft, axis=1)) ** 2",
        "n_fft, axis=1))",
        FRONT,
    ),
    Fault(
        "audio: network bands of another power",
        MEL_POWER,
        "spectrum.real**2 + spectrum.imag**2)",
        "spectrum.real**2 + spectrum.imag**2).sqrt()",
        OURS,
    ),
    Fault(
        "audio: musicnn pools in blocks",
        MUSIC,
        "torch.stack([every.amax(2), every.mean(2)], 2).flatten(1)",
        "torch.cat([every.amax(2), every.mean(2)], 1)",
        OURS,
    ),
    Fault(
        "audio: even filters lean the other way",
        MUSIC,
        "((time - 1) // 2, time // 2)",
        "(time // 2, (time - 1) // 2)",
        OURS,
    ),
    Fault("audio: loud windows are turned down", NETS, ".clamp(1, 1e6)", ".clamp(0, 1e6)", OURS),
    Fault("audio: parts of padding count", NETS, "if covered < 0.75", "if covered < 0.1", OURS),
    Fault(
        "audio: the depth is that of the batch",
        NETS,
        "power.amax((1, 2), keepdim=True)",
        "power.amax()",
        OURS,
    ),
    Fault(
        "audio: speech pools time at every block",
        NETS,
        "((2, 2), (1, 2), (2, 2), (1, 2), (2, 2))",
        "((2, 2), (2, 2), (2, 2), (1, 2), (2, 2))",
        OURS,
    ),
    Fault(
        "audio: crepe frames keep their mean",
        NETS,
        "        cut = cut - cut.mean(2, keepdim=True)\n",
        "",
        OURS,
    ),
    Fault(
        "audio: crepe frames are not centred",
        NETS,
        "F.pad(x, (half, half)).unfold",
        "F.pad(x, (0, 2 * half)).unfold",
        OURS,
    ),
    Fault(
        "audio: silero forgets the context",
        NETS,
        "F.pad(x, (self.CONTEXT, missing))",
        "F.pad(x, (0, self.CONTEXT + missing))",
        OURS,
    ),
    Fault(
        "audio: silero starts anew in each chunk",
        NETS,
        "states, _ = self.lstm(layers[-1][1])",
        "states = torch.cat([self.lstm(s)[0] for s in layers[-1][1].split(1, 1)], 1)",
        OURS,
    ),
    Fault(
        "audio: the spread is left out",
        NETS,
        "torch.cat([mean, wide.std(1, correction=0)], 1)",
        "torch.cat([mean, mean], 1)",
        OURS,
    ),
    Fault(
        "audio: a network stays in training mode",
        SOUND,
        "network.eval().requires_grad_(False)",
        "network.train().requires_grad_(False)",
        OURS,
    ),
    Fault(
        "audio: a twin moves the global generator",
        SOUND,
        "with torch.random.fork_rng(devices=[]):",
        "if True:",
        OURS,
    ),
    Fault(
        "audio: short windows are not filled",
        SOUND,
        "if missing > 0 else x",
        "if False else x",
        OURS,
    ),
    Fault(
        "audio: any tensor is read",
        SOUND,
        "if x.ndim != 2 or x.dtype != torch.float32:",
        "if False:",
        OURS,
    ),
    Fault(
        "audio: a control takes statistics of the batch",
        CONTROLS,
        '"shape/mean": mean - level',
        '"shape/mean": mean - level.mean()',
        OURS,
    ),
    Fault(
        "audio: offsets in a checkpoint are ignored",
        CONTAINERS,
        "tensors[offset : offset + length]",
        "tensors[:length]",
        IN_CONTAINERS,
    ),
    Fault(
        "audio: unknown types pass",
        CONTAINERS,
        "if kind not in _TF_TYPES or shard:",
        "if shard:",
        IN_CONTAINERS,
    ),
    Fault(
        "audio: half a checkpoint is at hand",
        WEIGHTS,
        "parts = [what, _other(what)] if",
        "parts = [what] if",
        IN_CONTAINERS,
    ),
    Fault(
        "audio: the index of a checkpoint is not checked",
        WEIGHTS,
        '"sha256": what["beside_sha256"]',
        '"sha256": what["sha256"]',
        IN_CONTAINERS,
    ),
    Fault(
        "audio: rows in the order of the work",
        "etab/features/shards.py",
        "if self.rows is not None and",
        "if False and",
        IN_WINDOWS,
    ),
    Fault(
        "audio: the start of a window is ignored",
        BATCHES,
        "first = round(start * rate)",
        "first = round(0 * rate)",
        IN_WINDOWS,
    ),
    Fault(
        "audio: a window is filled with zeros",
        BATCHES,
        "cut(sound, first, n, padding=False)",
        "cut(sound, first, n, padding=True)",
        IN_WINDOWS,
    ),
    Fault(
        "audio: the rate of the backbone is ignored",
        BATCHES,
        "sound_at(self.source, record, self.rate)",
        "sound_at(self.source, record, None)",
        IN_WINDOWS,
    ),
    Fault(
        "audio: another recording's sound is kept",
        BATCHES,
        "if self._last[0] != record.id:",
        'if self._last[0] == "":',
        IN_WINDOWS,
    ),
    Fault(
        "audio: the key forgets the start",
        WINDOWS,
        "{float(start)!r}",
        "",
        _at(IN_WINDOWS, "test_features_are_kept_read_back_and_mended"),
    ),
    Fault(
        "audio: the key forgets the length",
        WINDOWS,
        "{float(length)!r}",
        "",
        _at(IN_WINDOWS, "test_features_are_kept_read_back_and_mended"),
    ),
    Fault(
        "audio: the key forgets the data",
        "etab/features/store.py",
        "json.dumps([facts, weights, data, *self.listed]",
        "json.dumps([facts, weights, *self.listed]",
        _at(IN_WINDOWS, "test_features_are_kept_read_back_and_mended"),
    ),
    Fault(
        "audio: pictures at another size of window",
        BATCHES,
        "* 255).astype",
        "* 127).astype",
        IN_WINDOWS,
    ),
    Fault(
        "audio: samples that are not finite pass",
        "etab/features/kept_sounds.py",
        "if not np.isfinite(samples).all():",
        "if False:",
        IN_WINDOWS,
    ),
    Fault(
        "audio: windows beyond the end pass",
        BATCHES,
        "if first >= len(sound):",
        "if False:",
        IN_WINDOWS,
    ),
    Fault(
        "audio: half precision is taken for single",
        WINDOWS,
        'if precision not in (AUTO, FASTEST, "fp32"):',
        'if precision not in (AUTO, FASTEST, "fp32", "bf16"):',
        IN_WINDOWS,
    ),
    Fault(
        "audio: a hub model at another rate",
        "etab/backbones/hub/card.py",
        "if number is not None and number != rate:",
        "if False:",
        OPEN,
    ),
    Fault("audio: only the last layer of a transformer", HUB, "round(n * (i + 1) / 4)", "n", OPEN),
    Fault(
        "audio: a bundle's twin is pretrained",
        HUB,
        "        if seed is None:\n            return SoundBackbone(card, BundleNetwork(bundle.get_model()))",
        "        if True:\n            return SoundBackbone(card, BundleNetwork(bundle.get_model()))",
        OPEN,
    ),
    Fault(
        "audio: birdnet reads one part only",
        LITE,
        "rows = [window[s : s + PART] for s in starts]",
        "rows = [window[s : s + PART] for s in starts[:1]]",
        OPEN,
    ),
    Fault("audio: birdnet counts a last second", LITE, "< PART // 2", "< 0", OPEN),
    Fault(
        "audio: birdnet is among all backbones",
        SOUND,
        'Entry(_birdnet_card, "sound", listed=False)',
        'Entry(_birdnet_card, "sound")',
        OPEN,
    ),
]
