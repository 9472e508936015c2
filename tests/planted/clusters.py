"""Faults of executors: options, lost processes, and jobs that are queued again."""

from tests.faults import Fault

_FILE = "tests/runs/test_clusters.py"
_ENDED = "tests/runs/test_lost_processes.py"
_LOST = (f"{_FILE}::test_a_lost_process_costs_the_cell_at_work",)
_REFUSED = (f"{_FILE}::test_an_executor_is_refused_before_anything_is_read",)

FAULTS = [
    Fault(
        "a run that ends leaves the claims of its tasks on Ray",
        "etab/runs/ray_cluster.py",
        "        _stop_tasks(ray, list(at_work))\n",
        "        pass\n",
        (f"{_FILE}::test_sigterm_stops_the_units_of_a_run[ray]",),
    ),
    Fault(
        "SIGTERM in a task of Ray is a failure of the cell",
        "etab/runs/ray_cluster.py",
        "        with stopped_by(signal.SIGTERM):\n            return run_unit(unit)\n",
        "        return run_unit(unit)\n",
        (f"{_FILE}::test_sigterm_in_a_task_of_ray_is_no_failure_of_its_cell",),
    ),
    Fault(
        "a kill of one process of Ray may cost the work of all",
        "benchmarks/scale/campaigns.py",
        "return 1 if ends_alone else self.workers",
        "return self.workers",
        (
            "tests/benchmarks/test_scale.py"
            "::test_a_kill_may_cost_the_work_of_the_processes_that_it_ends",
        ),
    ),
    Fault(
        "a lost process costs all cells of its unit",
        "etab/runs/lost_processes.py",
        "    killed = at_work or unfinished\n",
        "    killed = unfinished\n",
        _LOST,
    ),
    Fault(
        "every unfinished backbone is to blame for a lost worker",
        "etab/runs/lost_processes.py",
        "    return at_work or list(groups)\n",
        "    return list(groups)\n",
        (f"{_ENDED}::test_the_cells_of_an_ended_process_are_known_by_its_claims",),
    ),
    Fault(
        "code that raises KeyboardInterrupt stops the run",
        "etab/runs/failures.py",
        "        return handler is not signal.SIG_IGN and not is_of_etab\n",
        "        return True\n",
        (f"{_ENDED}::test_an_interruption_of_ones_own_is_told_from_control_c",),
    ),
    Fault(
        "Ctrl-C in a notebook is a failure of the backbone",
        "etab/runs/failures.py",
        "        return handler is not signal.SIG_IGN and not is_of_etab\n",
        "        return handler is signal.default_int_handler\n",
        (f"{_ENDED}::test_an_interruption_of_ones_own_is_told_from_control_c",),
    ),
    Fault(
        "code of a package runs in the command itself",
        "etab/runs/run.py",
        "known = is_of_package(card) or is_installed(card)",
        "known = is_of_package(card)",
        (f"{_ENDED}::test_a_name_of_a_package_leads_to_its_function",),
    ),
    Fault(
        "a fork of a function goes on with the run",
        "etab/backbones/own/function.py",
        "                os._exit(0)  #",
        "                os._exit(3)  #",
        (f"{_ENDED}::test_a_fork_of_a_function_does_not_go_on_with_the_run",),
    ),
    Fault(
        "cells of a lost unit are forgotten",
        "etab/runs/units.py",
        "        if killed and left:\n            self.add(left)\n",
        "",
        _LOST,
    ),
    Fault(
        "finished cells of a lost unit are not seen",
        "etab/runs/units.py",
        "        self._look({number for number, _ in ended})\n        for",
        "        for",
        _LOST,
    ),
    Fault(
        "each machine chooses its precision",
        "etab/runs/ray_cluster.py",
        "        require_same_precision(settings, self.name)\n",
        "",
        _REFUSED,
    ),
    Fault(
        "a missing extra is noticed after the data were read",
        "etab/runs/sweep.py",
        "    executor.require_ready(settings)\n",
        "",
        _REFUSED,
    ),
    Fault(
        "all processes share one GPU",
        "etab/storage/machine.py",
        "if count > 1 else [device]",
        "if count > 9 else [device]",
        (f"{_FILE}::test_each_gpu_has_a_process",),
    ),
    Fault(
        "a job that SLURM takes back ends",
        "etab/runs/slurm.py",
        "                handler(handled, None)\n",
        "                pass\n",
        (f"{_FILE}::test_a_job_that_slurm_takes_back_is_queued_again",),
    ),
    Fault(
        "every cell is looked for twice a second",
        "etab/runs/units.py",
        "        self._next_look = began + max(_POLL, _PACE * took)\n",
        "",
        (f"{_FILE}::test_looking_for_results_takes_a_small_part_of_the_time",),
    ),
    Fault(
        "all runs wait for the features of one backbone",
        "etab/runs/execute.py",
        "        if not (is_mine or must_wait):\n            return waiting\n",
        "",
        (
            "tests/runs/test_shared_runs.py::test_features_that_another_run_computes_come_last",
            "-m",
            "slow or not slow",
        ),
    ),
    Fault(
        "a log grows without end",
        "etab/runs/run_log.py",
        "    if facts.st_size > LARGEST and",
        "    if False and",
        ("tests/runs/test_run_log.py::test_a_log_is_bounded",),
    ),
    Fault(
        "a counter of energy that begins again counts backwards",
        "etab/runs/meters.py",
        "return moved if moved >= 0 else moved + after[1]",
        "return moved",
        ("tests/runs/test_run_log.py::test_energy_is_read_where_the_machine_tells",),
    ),
    Fault(
        "a log that cannot be written ends a cell",
        "etab/runs/run_log.py",
        "    with contextlib.suppress(OSError):\n        _append(",
        "    with contextlib.suppress(ValueError):\n        _append(",
        (
            "tests/runs/test_run_log.py::test_a_log_that_cannot_be_written_is_refused_before_any_work",
        ),
    ),
    Fault(
        "a failed cell is logged as finished",
        "etab/runs/execute.py",
        "            note_failure(end, error)\n",
        "",
        (
            "tests/runs/test_run_log.py::test_a_run_logs_every_start_and_end",
            "-m",
            "slow or not slow",
        ),
    ),
    Fault(
        "a run holds whole records of its cells",
        "etab/runs/executors.py",
        "return [brief(result) for group",
        "return [result for group",
        ("tests/runs/test_shared_runs.py::test_a_run_holds_summaries_of_its_cells",),
    ),
    Fault(
        "the memory of a plan grows with every division into folds",
        "etab/runs/execute.py",
        "                of_rows.forget_fits()\n",
        "                pass\n",
        (
            "tests/runs/test_shared_runs.py::test_fits_of_other_splits_are_forgotten",
            "-m",
            "slow or not slow",
        ),
    ),
    Fault(
        "the features of a unit elsewhere are not followed",
        "etab/runs/units.py",
        "        self._report_frames()\n",
        "",
        ("tests/runs/test_clusters.py::test_the_features_of_a_unit_elsewhere_are_followed",),
    ),
    Fault(
        "the progress of a unit that has ended stays",
        "etab/runs/units.py",
        "        unit.progress().remove()\n        done, total",
        "        done, total",
        ("tests/runs/test_clusters.py::test_the_features_of_a_unit_elsewhere_are_followed",),
    ),
]
