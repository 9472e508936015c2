"""Faults of the site."""

from tests.faults import Fault

SITE = ("tests/site/test_site.py",)

FAULTS = [
    Fault(
        "a site that deletes files outside its folder",
        "etab/site/write.py",
        'return {name for name in inside if ".." not in Path(name).parts}',
        "return inside",
        SITE,
    ),
    Fault(
        "names that become markup",
        "etab/site/write.py",
        "autoescape=True",
        "autoescape=False",
        SITE,
    ),
    Fault(
        "data that end their script",
        "etab/site/packing.py",
        'for sign in "<>&',
        'for sign in "&',
        SITE,
    ),
    Fault(
        "noise outside the kept directions forgotten",
        "etab/site/noise.py",
        "np.maximum(rest, 0.0))",
        "0.0 * rest)",
        SITE,
    ),
]
