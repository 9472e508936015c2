"""Faults of leakage: one person under two ids, and recordings that are there twice."""

from tests.faults import Fault

SAME_PERSON = ("tests/datasets/test_same_person.py",)

FAULTS = [
    Fault(
        "leaks: repeated folds count ids instead of people",
        "etab/runs/data.py",
        "people = [person_of.get(patient, patient) for patient in rows.patients.tolist()]",
        "people = rows.patients.tolist()",
        SAME_PERSON,
    ),
    Fault(
        "leaks: the published protocols merge ids",
        "etab/runs/data.py",
        "if parse(protocol).repeats == 1:",
        "if not protocol:",
        SAME_PERSON,
    ),
    Fault(
        "leaks: phantom patients of the same names are merged",
        "etab/datasets/integrity/canonical.py",
        "if person_of and source.phantom:",
        "if False:",
        SAME_PERSON,
    ),
    Fault(
        "leaks: results on CAMUS do not name the pair",
        "etab/datasets/camus.py",
        "return same_person_notes(self)",
        "return ()",
        SAME_PERSON,
    ),
]
