"""Training: the same bytes from one seed and after any interruption; what goes wrong is said and nothing good is lost."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.errors import (
    CorruptFileError,
    EtabWarning,
    TrainingError,
    UnsupportedOptionError,
    WeightsError,
)
from etab.training.distributed import Share
from etab.training.loop import (
    Progress,
    Recipe,
    fit_state,
    order,
    rate,
    read_checkpoint,
    seeded,
    train,
    train_together,
)

torch = pytest.importorskip("torch")

ROWS, VALIDATION = np.arange(30), np.arange(30, 40)
RECIPE = Recipe(epochs=4, batch=4, accumulate=2, learning_rate=0.02, patience=0, every=1)


def made(seed: int = 1, width: int = 6) -> tuple[Any, Callable]:
    """A small network with everything that has state (dropout, batch norm), and its loss on made rows."""
    with seeded(seed):
        net = torch.nn.Sequential(
            torch.nn.Linear(5, width),
            torch.nn.BatchNorm1d(width),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.3),
            torch.nn.Linear(width, 1),
        )
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(40, 5)).astype(np.float32))
    y = x[:, :1] * 2 - x[:, 1:2]

    def loss(rows: Any) -> Any:
        at = torch.as_tensor(rows)
        return (net(x[at]) - y[at]).square().mean()

    return net, loss


def bytes_of(net: Any) -> str:
    return hashlib.sha256(
        b"".join(v.numpy().tobytes() for v in net.state_dict().values())
    ).hexdigest()


def stop_at(step: int) -> Callable[[Progress], None]:
    def report(now: Progress) -> None:
        if now.step == step:
            raise KeyboardInterrupt

    return report


def test_learns_and_keeps_the_best() -> None:
    net, loss = made()
    before = bytes_of(net)
    done = train(
        net, loss, ROWS, VALIDATION, Recipe(epochs=30, batch=8, learning_rate=0.03, patience=0)
    )
    seen = [h["validation"] for h in done.history]
    assert min(seen) < 0.3 * seen[0]
    assert done.best_loss == min(seen) == seen[done.best_epoch]
    with torch.no_grad():
        assert float(loss(VALIDATION)) == pytest.approx(done.best_loss, rel=1e-5)
    assert not net.training
    assert bytes_of(net) != before


def test_one_seed_one_result_and_the_callers_chance_stays() -> None:
    found = []
    for seed in (0, 0, 1):
        net, loss = made()
        torch.manual_seed(len(found))
        before = torch.get_rng_state()
        train(net, loss, ROWS, VALIDATION, Recipe(epochs=2, batch=8, seed=seed))
        assert torch.equal(before, torch.get_rng_state())
        found.append(bytes_of(net))
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("every", "optimizer"),
    [
        (1, "adamw"),
        (0, "sgd"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((3, "adamw"), (0, "adamw"), (1, "sgd"))
        ),
    ],
)
def test_interrupted_anywhere_and_resumed_gives_the_same_bytes(
    tmp_path: Path, every: int, optimizer: str
) -> None:
    recipe = Recipe(
        epochs=4,
        batch=4,
        accumulate=2,
        learning_rate=0.02,
        patience=0,
        every=every,
        optimizer=optimizer,
    )
    net, loss = made()
    whole = train(net, loss, ROWS, VALIDATION, recipe)
    wanted = bytes_of(net)
    assert whole.step == 16
    for step in range(1, 17):
        folder = tmp_path / str(step)
        net, loss = made()
        with pytest.raises(KeyboardInterrupt):
            train(net, loss, ROWS, VALIDATION, recipe, folder=folder, report=stop_at(step))
        net, loss = made(seed=99)  # nothing of the first network is left
        steps: list[int] = []
        if not (folder / "state.json").exists():
            assert every != 1 or step == 1
            net, loss = made()
        done = train(
            net,
            loss,
            ROWS,
            VALIDATION,
            recipe,
            folder=folder,
            report=lambda now, steps=steps: steps.append(now.step),
        )
        assert bytes_of(net) == wanted, f"another result after an interruption at step {step}"
        assert done == whole
        if step > 4:
            assert len(steps) <= 16 - (step - 1) // 4 * 4, "training began again from the start"
        assert len(list(folder.glob("*"))) == 2


def test_interrupted_twice_and_within_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, loss = made()
    train(net, loss, ROWS, VALIDATION, RECIPE)
    wanted = bytes_of(net)
    net, loss = made()
    with pytest.raises(KeyboardInterrupt):
        train(net, loss, ROWS, VALIDATION, RECIPE, folder=tmp_path, report=stop_at(6))
    real, calls = Path.replace, []

    def replace(self: Path, target: Any) -> Any:
        calls.append(target)
        if len(calls) == 2:  # the tensors are there, state.json is still the earlier one
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        net, loss = made(seed=5)
        with pytest.raises(KeyboardInterrupt):
            train(net, loss, ROWS, VALIDATION, RECIPE, folder=tmp_path)
    net, loss = made(seed=6)
    train(net, loss, ROWS, VALIDATION, RECIPE, folder=tmp_path)
    assert bytes_of(net) == wanted


def test_finished_training_only_reads(tmp_path: Path) -> None:
    net, loss = made()
    train(net, loss, ROWS, VALIDATION, RECIPE, folder=tmp_path)
    again, other = made(seed=3)
    train(again, other, ROWS, VALIDATION, RECIPE, folder=tmp_path, report=stop_at(17))
    assert bytes_of(again) == bytes_of(net)


def test_early_stopping_looks_at_validation_only() -> None:
    net, loss = made()
    calls: list[bool] = []

    def worse(rows: Any) -> Any:
        if net.training:
            return loss(rows)
        calls.append(True)
        return loss(rows) * 0 + len(calls)

    done = train(net, worse, ROWS, VALIDATION, Recipe(epochs=20, batch=10, patience=3))
    assert (done.epoch, done.best_epoch) == (4, 0)


def test_nan_loss_stops_names_the_step_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    net, loss = made()
    train(
        net,
        loss,
        ROWS,
        VALIDATION,
        Recipe(epochs=4, batch=8, patience=0),
        folder=tmp_path / "whole",
    )
    net, loss = made()
    after: list[str] = []
    seen = 0

    def breaks(rows: Any) -> Any:
        nonlocal seen
        seen += net.training
        if net.training and seen == 10:
            return loss(rows) * float("nan")
        return loss(rows)

    def report(now: Progress) -> None:
        if now.step == 9:  # one step into the third epoch
            after.append(bytes_of(net))

    folder = tmp_path / "broken"
    with pytest.raises(
        TrainingError,
        match=r"loss is not finite \(nan\) at step 9 \(epoch 2\).*after 2 good epochs",
    ):
        train(
            net,
            breaks,
            ROWS,
            VALIDATION,
            Recipe(epochs=4, batch=8, patience=0),
            folder=folder,
            report=report,
        )
    assert all(bool(torch.isfinite(v).all()) for v in net.state_dict().values())
    assert bytes_of(net) != after[0]
    kept = read_checkpoint(folder)[1]
    assert all(torch.equal(v, kept[f"good/{k}"]) for k, v in net.state_dict().items())
    fresh, fine = made(seed=2)
    train(fresh, fine, ROWS, VALIDATION, Recipe(epochs=4, batch=8, patience=0), folder=folder)
    whole = read_checkpoint(tmp_path / "whole")[1]
    assert all(torch.equal(v, whole[k]) for k, v in read_checkpoint(folder)[1].items())


def test_gradient_that_is_not_finite_stops_too() -> None:
    net, loss = made()

    def steep(rows: Any) -> Any:
        return loss(rows) + (net[0].weight.sum() * 0).abs().sqrt()

    with pytest.raises(TrainingError, match="gradient is not finite"):
        train(net, steep, ROWS, VALIDATION, Recipe(epochs=1, batch=8))


def test_sgd_is_nesterovs_with_momentum() -> None:
    """Two steps by hand: weights, momentum and the look ahead of torch's formula, without decay."""
    w = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        w.weight.fill_(2.0)
    recipe = Recipe(
        epochs=2,
        batch=2,
        learning_rate=0.1,
        warmup=0.0,
        optimizer="sgd",
        weight_decay=0.0,
        clip=0.0,
        stop=2,
    )
    train(w, lambda rows: w.weight.square().sum() / 2, np.arange(2), np.arange(0), recipe)
    x, v = 2.0, 0.0
    for step in range(2):
        v = 0.9 * v + x
        x -= rate(recipe, step, 2) * (x + 0.9 * v)
    assert float(w.weight.detach()) == pytest.approx(x, rel=1e-6)


def test_networks_that_train_together_are_those_that_train_alone() -> None:
    recipes = [Recipe(epochs=6, batch=4, learning_rate=r, patience=2) for r in (0.02, 0.3, 0.002)]
    alone = []
    for recipe in recipes:
        net, loss = made()
        alone.append((train(net, loss, ROWS, VALIDATION, recipe), bytes_of(net)))
    pairs = [made() for _ in recipes]
    asked: list[tuple[int, bytes]] = []

    def watched(i: int) -> Callable:
        def loss(rows: Any) -> Any:
            asked.append((i, rows.tobytes()))
            return pairs[i][1](rows)

        return loss

    before = torch.get_rng_state()
    done = train_together(
        [n for n, _ in pairs], [watched(i) for i in range(3)], ROWS, VALIDATION, recipes
    )
    assert torch.equal(before, torch.get_rng_state())
    assert len({d.epoch for d in done if d}) > 1, "all stop at once: nothing is shown"
    assert [(d, bytes_of(n)) for d, (n, _) in zip(done, pairs, strict=True)] == alone
    assert [i for i, _ in asked[:6]] == [0, 1, 2, 0, 1, 2]
    assert asked[0][1] == asked[1][1] == asked[2][1] != asked[3][1]


def test_one_that_fails_leaves_the_others_alone_and_all_that_fail_raise() -> None:
    pairs = [made() for _ in range(3)]
    bad = [pairs[0][1], lambda rows: pairs[1][1](rows) * float("nan"), pairs[2][1]]
    recipe = Recipe(epochs=2, batch=8)
    done = train_together([n for n, _ in pairs], bad, ROWS, VALIDATION, [recipe] * 3)
    assert [d is None for d in done] == [False, True, False]
    assert bytes_of(pairs[0][0]) == bytes_of(pairs[2][0]) != bytes_of(pairs[1][0])
    with pytest.raises(TrainingError, match="not finite"):
        train_together([made()[0]], bad[1:2], ROWS, VALIDATION, [recipe])


def without_noise() -> tuple[Any, Callable]:
    net, loss = made()
    net[1], net[3] = torch.nn.Identity(), torch.nn.Identity()
    return net, loss


def test_accumulated_parts_are_one_step() -> None:
    found = []
    for batch, accumulate in ((8, 1), (4, 2), (2, 4), (1, 8)):
        net, loss = without_noise()
        train(net, loss, ROWS, VALIDATION, Recipe(epochs=2, batch=batch, accumulate=accumulate))
        found.append(torch.cat([v.ravel() for v in net.state_dict().values()]))
    assert all(torch.allclose(found[0], f, atol=1e-5) for f in found[1:])


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_a_batch_that_does_not_fit_is_halved_with_a_message(error: Exception) -> None:
    net, loss = without_noise()
    train(net, loss, ROWS, VALIDATION, Recipe(epochs=2, batch=8))
    wanted = torch.cat([v.ravel() for v in net.state_dict().values()])
    net, loss = without_noise()
    sizes: list[int] = []

    def small(rows: Any) -> Any:
        if len(rows) > 3 and net.training:
            raise error
        sizes.append(len(rows))
        return loss(rows)

    with pytest.warns(
        EtabWarning, match="does not fit into memory at step 0; training continues with"
    ) as said:
        done = train(net, small, ROWS, VALIDATION, Recipe(epochs=2, batch=8))
    assert len(said) == 2
    assert done.batch == 2
    assert torch.allclose(
        torch.cat([v.ravel() for v in net.state_dict().values()]), wanted, atol=1e-5
    )


def test_a_row_that_does_not_fit_and_other_errors_stop() -> None:
    net, _ = made()

    def never(rows: Any) -> Any:
        raise MemoryError("9 GiB")

    with pytest.warns(EtabWarning), pytest.raises(TrainingError, match=r"One training row.*9 GiB"):
        train(net, never, ROWS, VALIDATION, Recipe(batch=2))

    def wrong(rows: Any) -> Any:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        train(net, wrong, ROWS, VALIDATION, Recipe())


def test_checkpoint_of_another_architecture_lists_the_keys(tmp_path: Path) -> None:
    net, loss = made()
    train(net, loss, ROWS, VALIDATION, RECIPE, folder=tmp_path)
    other, fine = made(width=7)
    before = bytes_of(other)
    with pytest.raises(WeightsError, match=r"0\.weight: \(6, 5\) there, \(7, 5\) here"):
        train(other, fine, ROWS, VALIDATION, RECIPE, folder=tmp_path)
    assert bytes_of(other) == before
    state = dict(net.state_dict())
    state["extra"] = state.pop("4.bias")
    with pytest.raises(WeightsError, match=r"(?s)missing: 4\.bias.*unknown: extra"):
        fit_state(made()[0], state, "here")


def test_checkpoint_of_another_training_or_damaged_is_refused(tmp_path: Path) -> None:
    net, loss = made()
    train(net, loss, ROWS, VALIDATION, RECIPE, folder=tmp_path)
    with pytest.raises(UnsupportedOptionError, match=r"learning_rate: 0\.02 there, 0\.001 here"):
        train(
            net,
            loss,
            ROWS,
            VALIDATION,
            Recipe(epochs=4, batch=4, accumulate=2, patience=0, every=1),
            folder=tmp_path,
        )
    with pytest.raises(UnsupportedOptionError, match="rows: "):
        train(net, loss, ROWS[1:], VALIDATION, RECIPE, folder=tmp_path)
    tensors = next(tmp_path.glob("*.safetensors"))
    blob = bytearray(tensors.read_bytes())
    blob[-3] ^= 1
    tensors.write_bytes(bytes(blob))
    with pytest.raises(CorruptFileError, match=r"cannot be read.*checksum"):
        train(net, loss, ROWS, VALIDATION, RECIPE, folder=tmp_path)
    tensors.unlink()
    with pytest.raises(CorruptFileError):
        train(net, loss, ROWS, VALIDATION, RECIPE, folder=tmp_path)
    (tmp_path / "state.json").write_text(json.dumps([1]))
    with pytest.raises(CorruptFileError):
        train(net, loss, ROWS, VALIDATION, RECIPE, folder=tmp_path)


def test_schedule_rises_and_falls() -> None:
    recipe = Recipe(learning_rate=1.0, warmup=0.2)
    rates = [rate(recipe, s, 50) for s in range(50)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rates[10] == 1.0
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.01


@pytest.mark.parametrize("n", [2, 16, 17, 33, 40])
def test_an_epoch_is_every_row_once_and_no_row_alone(n: int) -> None:
    steps = order(Recipe(batch=16), 3, n)
    assert sorted(np.concatenate(steps)) == list(range(n))
    assert min(len(s) for s in steps) > 1
    assert [list(s) for s in steps] != [list(s) for s in order(Recipe(batch=16), 4, n)] or n == 2


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch": 0}, {"learning_rate": -1.0}, {"warmup": 1.0}]
)
def test_recipes_that_cannot_be_followed(wrong: dict) -> None:
    with pytest.raises(UnsupportedOptionError, match=f"{next(iter(wrong))} is"):
        Recipe(**wrong)


@pytest.mark.parametrize(("rows", "validation"), [([], [1]), ([1], []), ([1, 2], [2, 3])])
def test_validation_rows_are_other_rows(rows: list, validation: list) -> None:
    net, loss = made()
    with pytest.raises(UnsupportedOptionError, match="other rows for validation"):
        train(net, loss, np.array(rows, int), np.array(validation, int), RECIPE)


SHARED = """
import json, sys
from pathlib import Path
import torch
from etab.training.distributed import joined, world
from etab.training.loop import Recipe, train
from tests.training.test_loop import ROWS, VALIDATION, bytes_of, made, stop_at, without_noise

out, noise, stop = Path(sys.argv[1]), sys.argv[2] == "noise", int(sys.argv[3])
recipe = Recipe(epochs=3, batch=4, accumulate=2, learning_rate=0.02, patience=0, every=1)
with joined("cpu"):
    rank, size = world()
    net, loss = made(seed=1 if rank == 0 else 7) if noise else without_noise()
    folder, report = out / "kept", stop_at(stop) if stop else None
    asked = []

    def fits(rows):
        asked.append(len(rows))
        if sys.argv[2] == "tight" and rank == 1 and net.training and len(rows) > 2:
            raise MemoryError("9 GiB")
        return loss(rows)

    try:
        done = train(net, fits, ROWS, VALIDATION, recipe, folder=folder, report=report)
        flat = torch.cat([v.ravel().double() for v in net.state_dict().values()]).tolist()
        said = {"bytes": bytes_of(net), "weights": flat, "history": done.history, "size": size, "batch": done.batch,
                "at once": max(asked[1:])}
        (out / f"rank{rank}.json").write_text(json.dumps(said))
    except KeyboardInterrupt:
        pass
threads = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
(out / f"threads{rank}.json").write_text(json.dumps([name for name in threads if "gloo" in name]))
"""


def shared(folder: Path, noise: str, stop: int = 0, processes: int = 2) -> list[dict[str, Any]]:
    """Train in processes that torchrun starts; what each of them ended with."""
    import os
    import subprocess
    import sys

    root = Path(__file__).resolve().parents[2]
    folder.mkdir(exist_ok=True)
    script = folder / "shared.py"
    script.write_text(SHARED)
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc_per_node={processes}",
            str(script),
            str(folder),
            noise,
            str(stop),
        ],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return [json.loads(p.read_text()) for p in sorted(folder.glob("rank*.json"))]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no torch.distributed"
)
@pytest.mark.parametrize(("memory", "batch"), [("plain", 4), ("tight", 2)])
def test_two_processes_are_one_training(memory: str, batch: int, tmp_path: Path) -> None:
    """Also where a batch does not fit the second one's memory: it is halved in both."""
    net, loss = without_noise()
    recipe = Recipe(epochs=3, batch=4, accumulate=2, learning_rate=0.02, patience=0)
    alone = train(net, loss, ROWS, VALIDATION, recipe)
    first, second = shared(tmp_path / "a", memory)
    assert first["size"] == second["size"] == 2
    assert first == second
    assert (first["batch"], first["at once"]) == (batch, batch)
    flat = torch.cat([v.ravel().double() for v in net.state_dict().values()]).tolist()
    assert first["weights"] == pytest.approx(flat, abs=1e-5)
    for mine, theirs in zip(first["history"], alone.history, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no torch.distributed"
)
def test_two_processes_resume_to_the_same_bytes(tmp_path: Path) -> None:
    """With dropout, batch norm and other initial weights in the second process, which takes the first one's."""
    first, second = shared(tmp_path / "whole", "noise")
    assert first == second
    assert not shared(tmp_path / "cut", "noise", stop=5)
    assert len(list((tmp_path / "cut" / "kept").glob("*"))) == 2
    assert shared(tmp_path / "cut", "noise") == [first, second]
    # A process whose group still has threads at its end is aborted now and then.
    for rank in range(2):
        assert json.loads((tmp_path / "whole" / f"threads{rank}.json").read_text()) == []
    net, loss = made()
    with pytest.raises(UnsupportedOptionError, match="processes: 2 there, None here"):
        train(
            net,
            loss,
            ROWS,
            VALIDATION,
            Recipe(epochs=3, batch=4, accumulate=2, learning_rate=0.02, patience=0, every=1),
            folder=tmp_path / "cut" / "kept",
        )


@pytest.mark.parametrize(("rank", "size"), [(0, 1), (0, 2), (1, 2), (2, 3)])
def test_processes_share_the_rows_of_a_step(rank: int, size: int) -> None:
    share = Share(without_noise()[0])
    share.rank, share.size = rank, size
    mine = share.parts(np.arange(20), 4)
    assert len(mine) == -(-5 // size)
    assert max(map(len, mine)) <= 4
    share.rank = (rank + 1) % size
    assert (
        size == 1
        or not np.intersect1d(
            np.concatenate(mine), np.concatenate(share.parts(np.arange(20), 4))
        ).size
    )
    every = []
    for share.rank in range(size):
        every += share.parts(np.arange(20), 4)
    assert sorted(np.concatenate(every)) == list(range(20))
    share.size = 8
    with pytest.raises(
        UnsupportedOptionError, match="A step of 7 rows cannot be shared by 8 processes"
    ):
        share.parts(np.arange(7), 4)
