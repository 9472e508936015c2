"""Run one benchmark task, or adapt a backbone from a source task to a target task, with the flags of 2022.

    python run_benchmark.py --task "a0-A4-C" --backbone "ResNet-50" --head "U-Net" --freeze_backbone False \\
                            --train_frac 0.6 --val_frac 0.1 --lr 0.001 --epochs 100 --batch 32
    python run_benchmark.py --source_task "a0-A4-C" --target_task "b0-A2-C" --backbone "efficientnet_lite0" \\
                            --source_head "U-Net" --target_head "Linear"
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from etab.errors import EtabError
from etab.legacy.benchmark import ETABBenchmark

_YES, _NO = ("true", "yes", "1", "on"), ("false", "no", "0", "off")


def boolean(text: str) -> bool:
    """What a typed True or False means; anything else is refused."""
    word = text.strip().lower()
    if word not in (*_YES, *_NO):
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return word in _YES


def named(text: str) -> str | None:
    """A name, or None where "None" is typed, as the defaults of 2022 were."""
    return None if text in ("None", "") else text


def parser() -> argparse.ArgumentParser:
    """The flags: those of 2022, then where the data are and what to compute on."""
    out = argparse.ArgumentParser(
        "run_benchmark.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    out.add_argument(
        "--task", default="a0-A4-E", help="code of the benchmark task (default a0-A4-E)"
    )
    out.add_argument(
        "--backbone", default="ResNet-50", help="backbone, as available_backbones() names it"
    )
    out.add_argument(
        "--head", type=named, help="head (default: SegFormer for masks, Linear otherwise)"
    )
    out.add_argument(
        "--freeze_backbone",
        type=boolean,
        nargs="?",
        const=True,
        default=False,
        metavar="True|False",
        help="tune the head alone (default False)",
    )
    out.add_argument("--nsample", type=int, help="recordings to load (default: all)")
    out.add_argument(
        "--train_frac", "--train", type=float, default=0.6, help="fraction of patients to train on"
    )
    out.add_argument(
        "--val_frac", "--val", type=float, default=0.1, help="fraction of patients to validate on"
    )
    out.add_argument("--epochs", type=int, default=10)
    out.add_argument("--batch", type=int, default=32)
    out.add_argument("--lr", type=float, default=1e-3, help="learning rate at its peak")
    out.add_argument("--optimizer", default="adamw", help="adamw or sgd (default adamw)")
    out.add_argument("--accumulate", type=int, default=1, help="batches to one step (default 1)")
    out.add_argument("--augment", default="none", help="clinical or none (default none)")
    out.add_argument("--source_task", type=named, help="task to train on first (default: --task)")
    out.add_argument("--target_task", type=named, help="task to adapt the trained backbone to")
    out.add_argument("--source_head", type=named, help="head on the source task (default: --head)")
    out.add_argument(
        "--target_head",
        type=named,
        help="head on the target task (default: that of the source, if it fits)",
    )
    out.add_argument(
        "--root",
        type=named,
        help="folder of the source task's data (default: the documented places)",
    )
    out.add_argument(
        "--target_root", type=named, help="folder of the target task's data, where it is another"
    )
    out.add_argument(
        "--pretrained",
        type=boolean,
        nargs="?",
        const=True,
        default=False,
        metavar="True|False",
        help="a 2022 architecture with the weights of its library",
    )
    out.add_argument("--ckpt_dir", type=named, help="keep checkpoints here, and go on from them")
    out.add_argument("--side", type=int, default=224, help="side of the frames in pixels")
    out.add_argument("--device", default="cpu")
    out.add_argument("--seed", type=int, default=0)
    return out


def run(args: argparse.Namespace) -> list[float]:
    """Train and score, on the source task and then on the target task where there is one; the scores in that order."""
    task = ETABBenchmark(
        args.source_task or args.task,
        args.nsample,
        args.batch,
        args.train_frac,
        args.val_frac,
        args.lr,
        args.epochs,
        args.backbone,
        args.source_head or args.head,
        args.ckpt_dir,
        root=args.root,
        side=args.side,
        pretrained=args.pretrained,
        device=args.device,
        seed=args.seed,
        optimizer=args.optimizer,
        accumulate=args.accumulate,
        augment=args.augment,
    )
    task.run(args.freeze_backbone)
    scores = [task.evaluate()]
    sys.stdout.write(f"score on {task.task_code}: {scores[0]:.4f}\n")
    if args.target_task:
        more = {} if args.target_root is None else {"root": args.target_root}
        task.switch_benchmark(args.target_task, args.target_head, **more)
        task.run(args.freeze_backbone)
        scores.append(task.evaluate())
        sys.stdout.write(
            f"score on {task.task_code}, backbone from {args.source_task or args.task}: {scores[1]:.4f}\n"
        )
    return scores


def main(words: Sequence[str] | None = None) -> int:
    """Run; 0 when done, 1 with the reason on stderr."""
    args = parser().parse_args(words)
    try:
        run(args)
    except EtabError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
