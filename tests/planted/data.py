"""Faults of the data part: readers, sources, Dataset, splits."""

from tests.faults import Fault

DATA = ("tests/datasets/test_dataset.py",)
OF_CAMUS = ("tests/datasets/test_camus.py",)
OF_ECHONET = ("tests/datasets/test_echonet.py",)
BAD = ("tests/datasets/test_bad_echo_trees.py",)
READERS = ("tests/readers/test_against_references.py",)
SPLITS = ("tests/test_splits.py",)
CAMUS = "etab/datasets/camus.py"
DATASET = "etab/datasets/dataset.py"
ECHONET = "etab/datasets/echonet.py"
PICTURES = "etab/datasets/pictures.py"

FAULTS = [
    Fault(
        "view ignored",
        DATASET,
        "if record.view in views]",
        "]",
        DATA,
    ),
    Fault(
        "split ignored",
        DATASET,
        "if record.split == self.split]",
        "]",
        DATA,
    ),
    Fault(
        "target ignored: the cavity for every mask", CAMUS, '"LA_seg": 3', '"LA_seg": 1', OF_CAMUS
    ),
    Fault(
        "wall and atrium swapped",
        CAMUS,
        '"MY_seg": 2, "LA_seg": 3',
        '"MY_seg": 3, "LA_seg": 2',
        OF_CAMUS,
    ),
    Fault(
        "clip_l ignored",
        PICTURES,
        "place_clip(grid, self.options.clip_l,",
        "place_clip(grid, 16,",
        DATA,
    ),
    Fault(
        "fps ignored",
        PICTURES,
        "grid = frame_grid(n_frames, native=record.fps, fps=self.options.fps)",
        "grid = frame_grid(n_frames, native=record.fps, fps=None)",
        DATA,
    ),
    Fault("normalize ignored", PICTURES, "if not self.options.normalize:", "if False:", DATA),
    Fault(
        "padding ignored",
        PICTURES,
        "fitted_size(*frame.shape, out=out, padding=self.options.padding)",
        "fitted_size(*frame.shape, out=out, padding=False)",
        DATA,
    ),
    Fault(
        "padding ignored for keypoints",
        PICTURES,
        "out=self.options.size, padding=self.options.padding)",
        "out=self.options.size, padding=False)",
        ("tests/datasets/measured/test_lvh.py",),
    ),
    Fault(
        "frame_l and frame_w swapped",
        DATASET,
        "(frame_l, frame_w), clip_l",
        "(frame_w, frame_l), clip_l",
        DATA,
    ),
    Fault(
        "options of another kind pass",
        "etab/options.py",
        "    if not isinstance(value, bool):\n        raise",
        "    if False:\n        raise",
        BAD,
    ),
    Fault(
        "a wrong frame for the mask",
        PICTURES,
        "self._pictures(record, [shown_frame])[0]",
        "self._pictures(record, [0])[0]",
        DATA,
    ),
    Fault(
        "a mask is paired with its neighbour on the grid",
        "etab/echo/clips.py",
        "snapped[index] = frame",
        "pass",
        DATA,
    ),
    Fault(
        "random ignores its seed",
        DATASET,
        "np.random.default_rng(seed)",
        "np.random.default_rng(0)",
        DATA,
    ),
    Fault(
        "n_clips counts rows",
        DATASET,
        "dict.fromkeys(record.id for",
        "dict.fromkeys(f'{record.id}{at}' for",
        DATA,
    ),
    Fault(
        "a loader's split is by row",
        "etab/legacy/data_tools.py",
        "sides[p] == k]",
        "i * 3 // len(items) == k]",
        DATA,
    ),
    Fault(
        "2022 options pass in silence",
        "etab/datasets/options.py",
        "    if idle:\n",
        "    if False:\n",
        DATA,
    ),
    Fault(
        "masks resized linearly",
        PICTURES,
        "interpolation = cv2.INTER_NEAREST_EXACT",
        "pass",
        DATA,
    ),
    Fault(
        "pictures lie on their side",
        "etab/readers/nifti.py",
        "pixels = numbers.reshape(frames, stored.rows, stored.columns)\n    elif",
        "pixels = numbers.reshape(frames, stored.columns, stored.rows).swapaxes(1, 2)\n    elif",
        READERS,
    ),
    Fault(
        "row and column spacing swapped",
        "etab/readers/nifti.py",
        "pixel_spacing(path, height * unit, width * unit, orientation)",
        "pixel_spacing(path, width * unit, height * unit, orientation)",
        READERS,
    ),
    Fault(
        "a broken gzip checksum passes",
        "etab/readers/nifti.py",
        "if not (partial and len(out) == limit):",
        "if not len(out) == limit:",
        READERS,
    ),
    Fault(
        "absurd sizes are loaded",
        "etab/readers/geometry.py",
        "if max(stored.rows, stored.columns) > _MAX_SIDE or size > MAX_VOLUME_BYTES:",
        "if False:",
        READERS,
    ),
    Fault(
        "ED and ES by order, not area",
        "etab/datasets/traced.py",
        "late = int(masks[last].sum() > masks[first].sum())",
        "late = 0",
        OF_ECHONET,
    ),
    Fault(
        "the long axis is part of the outline",
        ECHONET,
        "trace[1:, 0], trace[1:, 2][::-1]",
        "trace[:, 0], trace[:, 2][::-1]",
        OF_ECHONET,
    ),
    Fault(
        "reversed sequences are not",
        CAMUS,
        "return (1, 0) if named and named[0] > named[1] else (0, 1)",
        "return (0, 1)",
        OF_CAMUS,
    ),
    Fault(
        "a mask of another size passes", CAMUS, "mask.shape[1:] != picture.shape[1:]", "False", BAD
    ),
    Fault(
        "a patient in two split files passes",
        "etab/datasets/camus_layout.py",
        "if home.setdefault(patient, split) != split:",
        "if home.setdefault(patient, split) is None:",
        BAD,
    ),
    Fault(
        "a listed patient without folder is left out",
        "etab/datasets/camus_layout.py",
        "        if lost and absent is None:\n",
        "        if False:\n",
        BAD,
    ),
    Fault(
        "phantom marks in files are not seen",
        CAMUS,
        "any(self._is_marked(record) for record in self.records())",
        "False",
        OF_CAMUS,
    ),
    Fault(
        "the digest forgets the tables",
        "etab/datasets/base.py",
        "[*names, *self.shared_files()]",
        "names",
        OF_CAMUS,
    ),
    Fault(
        "the digest forgets pixels beside headers",
        "etab/datasets/camus_layout.py",
        "files |= self._pixels(files, present)",
        "pass",
        OF_CAMUS,
    ),
    Fault(
        "cross-validation leaks rows of a patient",
        "etab/splits.py",
        "fold = np.array([fold_of[p] for p in patients])\n    out",
        "fold = np.arange(len(patients)) % n_fold\n    out",
        SPLITS,
    ),
    Fault(
        "folds depend on the order given",
        "etab/splits.py",
        "unique = sorted(set(patients))\n    if len(unique)",
        "unique = list(dict.fromkeys(patients))\n    if len(unique)",
        SPLITS,
    ),
    Fault(
        "test = train",
        "etab/splits.py",
        "return RowSplit(fit, inner, test,",
        "return RowSplit(fit, inner, fit,",
        SPLITS,
    ),
    Fault(
        "a leak in the authors' split passes",
        "etab/splits.py",
        "if home.setdefault(patient, part) != part:",
        "if False:",
        SPLITS,
    ),
    Fault(
        "a named folder that is gone is skipped",
        "etab/datasets/paths.py",
        "        if firm:\n",
        "        if False:\n",
        BAD,
    ),
]
