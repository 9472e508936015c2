"""Faults of heads over sequences and of backbones of clips."""

from tests.faults import Fault

HEADS = ("tests/test_temporal_heads.py",)
VIDEO = ("tests/test_video_backbones.py",)
HEAD, NETS = "etab/heads/temporal.py", "etab/heads/networks_temporal.py"
CONTRACTS, CLIPNETS, ROWS = "etab/backbones/contracts.py", "etab/backbones/clipnets.py", "etab/backbones/video.py"
FAULTS = [
    Fault("sequences: standardised with every row", HEAD, "values[rows], dtype=np.float64",
          "values, dtype=np.float64", HEADS),
    Fault("sequences: validation rows are trained on", HEAD, "_annotated(y, without(split.train, split.inner[0]), target)",
          "_annotated(y, without(split.train, split.inner[0][1:]), target)", HEADS),
    Fault("sequences: the search looks at test rows", HEAD, "validation = _annotated(y, split.inner[0], target)",
          "validation = _annotated(y, split.test, target)", HEADS),
    Fault("sequences: steps nobody annotated are the first class", HEAD,
          "functional.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=NOBODY",
          "functional.cross_entropy(logits.transpose(1, 2), wanted.clamp_min(0), ignore_index=NOBODY", HEADS),
    Fault("sequences: the worst recipe is taken", HEAD, "        return min(good, key=lambda f: f.loss)",
          "        return max(good, key=lambda f: f.loss)", HEADS),
    Fault("sequences: values stay standardised", HEAD, "logits[:, 0] * scale + shift", "logits[:, 0]", HEADS),
    Fault("sequences: features without any pass", HEAD, "    if not sequences:\n", "    if False:\n", HEADS),
    Fault("sequences: a recipe that diverges ends it all", HEAD, "            except TrainingError as error:\n",
          "            except ZeroDivisionError as error:\n", HEADS),
    Fault("sequences: first weights are not seeded", HEAD, "        with seeded(seed):\n",
          "        if True:\n", HEADS),
    Fault("sequences: the transformer knows no order", NETS, "x + sinusoids(x.shape[1], x.shape[2]).to(x)", "x", HEADS),
    Fault("sequences: attention is uniform", NETS, "return score[..., 0].softmax(dim=1)",
          "return (0 * score[..., 0]).softmax(dim=1)", HEADS),
    Fault("clips: EchoPrime on the 0-1 scale", ROWS, 'short="zeros", unit=1.0', 'short="zeros", unit=255.0', VIDEO),
    Fault("clips: zeros before normalisation", CONTRACTS, "            f = f * there.to(f)[:, None, :, None, None]",
          "            f = torch.where(there[:, None, :, None, None], f, -mean / std)", VIDEO),
    Fault("clips: a short recording is not looped", CONTRACTS, 'if self.short == "loop":', 'if self.short == "run":', VIDEO),
    Fault("clips: the period is ignored", CONTRACTS, "np.arange(self.frames) * self.period", "np.arange(self.frames)", VIDEO),
    Fault("clips: no tenth is cut off", CONTRACTS, "int(side * 0.1) for side", "int(side * 0.0) for side", VIDEO),
    Fault("clips: the middle is a pixel off", CONTRACTS, "corner = (side - size) // 2",
          "corner = (side - size) // 2 + 1", VIDEO),
    Fault("clips: the clip begins at the first frame", CONTRACTS, "wanted = start + np.arange", "wanted = np.arange", VIDEO),
    Fault("clips: PanEcho's planes are brought to frames", CLIPNETS,
          "x.flatten(1, 2).reshape(-1, 3, *x.shape[3:])", "flat(x)", VIDEO),
    Fault("clips: EchoCLIP averages frames that are not there", CLIPNETS, 'over_time("frames", frames, there)',
          'over_time("frames", frames)', VIDEO),
    Fault("clips: EchoFM's tubes have no place in time", CLIPNETS, " + self.pos_embed_temporal[:, :, None]", "", VIDEO),
    Fault("clips: an unknown key is left out", ROWS, "if not (row.others and re.fullmatch(row.others, k))",
          "if not (row.others and (re.fullmatch(row.others, k) or 'stranger' in k))", VIDEO),
    Fault("clips: conversion trusts every pickle", "etab/backbones/weights.py", "weights_only=not trust",
          "weights_only=False", VIDEO),
    Fault("clips: conversion checks no network", "etab/backbones/convert.py",
          '        video.refuse_others(network, state, f"{source} as {network}")\n', "", VIDEO),
    Fault("clips: a run on frames takes a network of clips", "etab/runs.py", "    if card.clip is not None:",
          "    if False:", VIDEO),
    Fault("sequences: the second batch is kept over the first", "etab/features.py",
          "            place[self.at : self.at + k] = block\n", "            place[:k] = block\n", HEADS),
]  # fmt: skip
