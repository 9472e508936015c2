"""Faults of repeated folds and of metrics within folds."""

from tests.faults import Fault

REPEATED = ("tests/tasks/test_repeated_folds.py",)
WITHIN = ("tests/metrics/test_within_folds.py",)
TRIVIAL = ("tests/tasks/test_trivial_predictor.py",)
RESCORE = ("tests/runs/test_rescore.py",)

FAULTS = [
    Fault(
        "folds: rows are divided, not people",
        "etab/splits.py",
        "fold = np.array([fold_of[p] for p in patients])\n    out",
        "fold = (np.array([fold_of[p] for p in patients]) + np.arange(len(patients))) % n_fold\n"
        "    out",
        REPEATED,
    ),
    Fault(
        "folds: classes are not spread",
        "etab/splits.py",
        "stratum = None if strata is None else strata[patient]",
        "stratum = None",
        REPEATED,
    ),
    Fault(
        "folds: a class fills one fold before the next",
        "etab/splits.py",
        "return {patient: i % n_fold for i, patient in enumerate(shuffled)}",
        "return {patient: i * n_fold // len(shuffled) for i, patient in enumerate(shuffled)}",
        REPEATED,
    ),
    Fault(
        "folds: every repeat has the same folds",
        "etab/tasks/protocols.py",
        "seed=seed + repeat,",
        "seed=seed,",
        REPEATED,
    ),
    Fault(
        "folds: databases are not spread",
        "etab/tasks/strata.py",
        'databases = [str(groups[i]) if len(groups) else "" for i in first]',
        'databases = ["" for i in first]',
        REPEATED,
    ),
    Fault(
        "folds: every repeat fits with one generator",
        "etab/runs/record.py",
        "run.seed + repeat, stream)",
        "run.seed, stream)",
        REPEATED,
    ),
    Fault(
        "folds: bases of all repeats stay in memory",
        "etab/runs/cell.py",
        "self.memo.forget_fits()",
        "pass",
        REPEATED,
    ),
    Fault(
        "folds: units are put together across repeats",
        "etab/runs/cell.py",
        "for repeat in sorted({split.repeat for split in splits}):\n"
        "        chosen = [i for i, split in enumerate(splits) if split.repeat == repeat]",
        "for repeat in [0]:\n        chosen = list(range(len(splits)))",
        REPEATED,
    ),
    Fault(
        "folds: a fold is that of every repeat",
        "etab/runs/record.py",
        "tested = (np.array(table.folds) == name) & (np.array(table.repeats) == repeat)",
        "tested = np.array(table.folds) == name",
        REPEATED,
    ),
    Fault(
        "folds: repeats are one table",
        "etab/metrics/base.py",
        "if len(repeats) == 1 or self.within_folds:",
        "if repeats:",
        REPEATED,
    ),
    Fault(
        "folds: a repeat may lack rows",
        "etab/results/predictions.py",
        "if of_repeat != every_item:",
        "if False:",
        REPEATED,
    ),
    Fault(
        "folds: a backbone is trained for every repeat",
        "etab/tasks/protocols.py",
        "if tuning and repeats:",
        "if False:",
        REPEATED,
    ),
    Fault(
        "trivial: the mean mask knows the masks that it is tested on",
        "etab/heads/pooled/probes.py",
        "                for i in split.train\n            ],\n            axis=0,",
        "                for i in range(len(masks))\n            ],\n            axis=0,",
        (f"{TRIVIAL[0]}::test_the_mean_mask_for_every_frame_is_worth_the_anchor",),
    ),
    Fault(
        "folds: AUROC is the pooled one",
        "etab/metrics/basic.py",
        "areas(PairsOfTables, tables, tables[0].of_folds(), units)",
        "areas(PairsOfTables, tables, tables[0].of_repeats(), units)",
        (*WITHIN, *TRIVIAL),
    ),
    Fault(
        "folds: AUPRC is the pooled one",
        "etab/metrics/basic.py",
        "areas(PrecisionOfTables, tables, tables[0].of_folds(), units)",
        "areas(PrecisionOfTables, tables, tables[0].of_repeats(), units)",
        WITHIN,
    ),
    Fault(
        "folds: a fold of one class has weight",
        "etab/metrics/areas.py",
        "                if self.both_classes:\n",
        "                if False:\n",
        WITHIN,
    ),
    Fault(
        "folds: the mean of folds, whatever their pairs",
        "etab/metrics/areas.py",
        "                right[some] += twice_right(part.select(some), weights, *most) / 2\n"
        "            pairs += of_part\n",
        "                right[some] += twice_right(part.select(some), weights, *most) / 2 / np.maximum(of_part, 1e-9)\n"
        "            pairs += of_part > 0\n",
        WITHIN,
    ),
    Fault(
        "folds: repeats are averaged before ranking",
        "etab/metrics/columns.py",
        "        return parts_of_both(self.repeats, self.folds)\n",
        "        return parts_of(self.folds)\n",
        WITHIN,
    ),
    Fault(
        "folds: databases forget their folds",
        "etab/metrics/heart_sounds.py",
        "_mean_over_databases(rows, units, auroc.prepared)",
        "_mean_over_databases(rows, units, METRICS['auroc_pooled'].prepared)",
        WITHIN,
    ),
    Fault(
        "folds: the score of 2022 is the mean of folds",
        "etab/legacy/task_scores.py",
        "whole = max(metric(columns, patients, folds=folds), 0.0)",
        "whole = float(np.mean(defined))",
        WITHIN,
    ),
    Fault(
        "rescore: --check writes",
        "etab/runs/rescore.py",
        "if not check:",
        "if True:",
        RESCORE,
    ),
    Fault(
        "rescore: the version stays",
        "etab/runs/rescore.py",
        "task_version=task.version,",
        "task_version=stored.task_version,",
        RESCORE,
    ),
    Fault(
        "rescore: folds stay",
        "etab/runs/rescore.py",
        'folds.append({**fold, "value": value_of_fold, "n_test": len(tested)})',
        "folds.append(fold)",
        RESCORE,
    ),
    Fault(
        "rescore: metrics that nothing gives stay",
        "etab/runs/rescore.py",
        "values: dict[str, float] = {}",
        "values: dict[str, float] = dict(stored.metrics)",
        RESCORE,
    ),
    Fault(
        "folds: an entry holds the last of five predictions",
        "etab/challenges/export.py",
        "if predictions.n_repeats > 1:",
        "if False:",
        ("tests/challenges/test_export.py::test_a_result_of_repeated_folds_becomes_no_entry",),
    ),
]
