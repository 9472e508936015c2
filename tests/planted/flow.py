"""Faults of features, runs, backbones and the phantom cohort."""

from tests.faults import Fault

_FLOW, _BACKBONES, _PHANTOM = (
    ("tests/test_flow.py",),
    ("tests/test_backbones.py",),
    ("tests/test_phantom.py",),
)

FAULTS = [
    Fault(
        "features of one precision serve the other",
        "etab/features/frames.py",
        '"precision": precision,\n        "layers"',
        '"layers"',
        _FLOW,
    ),
    Fault(
        "the weights do not enter the key of features",
        "etab/features/store.py",
        "json.dumps([settings, weights, data, maps]",
        "json.dumps([{**settings, 'backbone': ''}, data, maps]",
        _FLOW,
    ),
    Fault(
        "cached features are not verified",
        "etab/features/store.py",
        "if _file_digest(place / name) != wanted:",
        "if False:",
        _FLOW,
    ),
    Fault(
        "a remembered digest forgets the version of the backbone",
        "etab/features/store.py",
        'facts = [card.name, card.sha256, card.seed, card.version, card.source, version("torch")]',
        "facts = [card.sha256]",
        _FLOW,
    ),
    Fault(
        "a slice of a stored map starts anew",
        "etab/features/lazy.py",
        "part.start, part.shape = self.start + start,",
        "part.start, part.shape = start,",
        _FLOW,
    ),
    Fault(
        "a map that shrinks is read as zeros",
        "etab/features/lazy.py",
        "                    if not read:\n",
        "                    if not read:\n                        break\n                    if False:\n",
        _FLOW,
    ),
    Fault(
        "other data count as finished",
        "etab/runs/execute.py",
        '"data": data_digest(run.row.dataset, settings.root, settings.skip_bad),',
        '"data": found.data_digest,',
        _FLOW,
    ),
    Fault(
        "a cell depends on what was run beside it",
        "etab/runs/cell.py",
        "return np.random.default_rng([run.seed, stream, *run.task.encode()])",
        "return np.random.default_rng()",
        _FLOW,
    ),
    Fault(
        "the twin is the pretrained network",
        "etab/backbones/image/named.py",
        "    if seed is None:\n",
        "    if True:\n",
        _BACKBONES,
    ),
    Fault(
        "frames are normalised by ImageNet whatever the card says",
        "etab/backbones/image/networks.py",
        "f = (f - self._shift) / self._scale",
        "f = (f - 0.45) / 0.225",
        _BACKBONES,
    ),
    Fault(
        "the network stays in training mode",
        "etab/backbones/image/networks.py",
        "network.eval().requires_grad_(False)",
        "network.train().requires_grad_(False)",
        _BACKBONES,
    ),
    Fault(
        "a pickle may run code",
        "etab/backbones/weights/index.py",
        "weights_only=not trust",
        "weights_only=False",
        _BACKBONES,
    ),
    Fault(
        "the phantom's volumes forget its EF",
        "etab/phantom/anatomy.py",
        "float(np.sqrt((1 - self.ef / 100) / (1 - self.shortening)))",
        "0.8",
        _PHANTOM,
    ),
    Fault(
        "the phantom's masks do not shrink",
        "etab/phantom/trees.py",
        "masks = np.stack([mask(s, size) for s in shapes])",
        "masks = np.stack([mask(shapes[0], size) for s in shapes])",
        _PHANTOM,
    ),
    Fault(
        "the phantom's NIfTI files do not say phantom",
        "etab/phantom/trees.py",
        'image.header["descrip"] = MARK.encode()',
        'image.header["descrip"] = b""',
        _PHANTOM,
    ),
    Fault(
        "the phantom draws from no seed",
        "etab/phantom/trees.py",
        "np.random.default_rng([seed, 1, i]), size)",
        "np.random.default_rng(), size)",
        _PHANTOM,
    ),
]
