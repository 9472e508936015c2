"""Faults of the feature store."""

from tests.faults import Fault

_TESTS = ("tests/features/test_store.py",)
_CLAIMS = ("tests/storage/test_claims.py",)
_SHARED = ("tests/runs/test_shared_runs.py", "-m", "slow or not slow", "-k", "not at_once")

FAULTS = [
    Fault(
        "features of other versions of libraries are read",
        "etab/features/store.py",
        'f"{key}-{_libraries_digest()}"',
        "key",
        _TESTS,
    ),
    Fault(
        "temporary folders of processes meet",
        "etab/features/entries.py",
        'f"{target.name}.{secrets.token_hex(8)}.part"',
        'f"{target.name}.part"',
        _TESTS,
    ),
    Fault(
        "a failed entry is left behind",
        "etab/features/entries.py",
        "    finally:\n        shutil.rmtree(temp, ignore_errors=True)",
        "    finally:\n        pass",
        _TESTS,
    ),
    Fault(
        "the key of an entry forgets the order of its rows",
        "etab/features/store.py",
        "for piece in self.text:",
        "for piece in sorted(self.text):",
        _TESTS,
    ),
    Fault(
        "reading ahead takes a first part for granted",
        "etab/features/store.py",
        "    if not parts:\n        return\n",
        "",
        _TESTS,
    ),
    Fault(
        "an entry may do without its digest",
        "etab/features/entries.py",
        'entry.get("sha256") != _entry_digest(entry)',
        'entry.get("sha256") not in (None, _entry_digest(entry))',
        _TESTS,
    ),
    Fault(
        "a damaged entry is deleted under its readers",
        "etab/features/entries.py",
        "        target.rename(damaged)\n",
        "        shutil.rmtree(target)\n",
        _TESTS,
    ),
    Fault(
        "litter of killed processes stays",
        "etab/features/store.py",
        "                remove_parts(folder)\n",
        "",
        _TESTS,
    ),
    Fault(
        "what a living process computes is removed as litter",
        "etab/features/entries.py",
        "if not is_at_work and not is_young:",
        "if not is_young:",
        _TESTS,
    ),
    Fault(
        "an entry is computed beside the process that has claimed it",
        "etab/features/store.py",
        "            if is_claimed:\n",
        "            if True:\n",
        _TESTS,
    ),
    Fault(
        "a claim is taken from a living process",
        "etab/storage/claims.py",
        "    return time.monotonic() - first_seen >= WATCHED",
        "    return True",
        _CLAIMS,
    ),
    Fault(
        "the claim of a dead process stays",
        "etab/storage/claims.py",
        "return started != self.started",
        "return False",
        _CLAIMS,
    ),
    Fault(
        "claims are not touched",
        "etab/storage/claims.py",
        "                    os.utime(claim.path)  # the time is set by the file system\n",
        "                    pass\n",
        _CLAIMS,
    ),
    Fault(
        "a slow process removes the claim of a fast one",
        "etab/storage/claims.py",
        "        if _identity(path) != seen:\n            return False\n",
        "",
        _CLAIMS,
    ),
    Fault(
        "a cell is computed beside the run that has claimed it",
        "etab/runs/execute.py",
        "result = work.cell(run, memo) if is_claimed else None",
        "result = work.cell(run, memo)",
        _SHARED,
    ),
    Fault(
        "a cell that fails ends the others",
        "etab/runs/execute.py",
        "        except Exception as error:\n            # Nothing",
        "        except ValueError as error:\n            # Nothing",
        _SHARED,
    ),
    Fault(
        "a cell that fails is tried for ever",
        "etab/runs/failed_cells.py",
        'return self.kind == "undefined" or self.attempts >= MOST_ATTEMPTS',
        "return False",
        _SHARED,
    ),
    Fault(
        "a cell that was mended stays listed as failed",
        "etab/runs/execute.py",
        "        forget_failure(run, self.settings)\n",
        "",
        _SHARED,
    ),
    Fault(
        "a cache that is emptied ends a cell",
        "etab/runs/execute.py",
        "except FeaturesLostError:",
        "except ZeroDivisionError:",
        _SHARED,
    ),
    Fault(
        "results that cannot be written are noticed after the work",
        "etab/runs/sweep.py",
        "    require_writable(settings.results)\n",
        "",
        _SHARED,
    ),
    Fault(
        "data are read before the device is checked",
        "etab/runs/sweep.py",
        "    require_device(settings.device)\n",
        "",
        _SHARED,
    ),
]
