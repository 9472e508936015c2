"""The tasks of the benchmark, their codes, and the protocols that validate them."""

from etab.tasks.base import Anchors, Task
from etab.tasks.codes import Code, parse_code
from etab.tasks.menu import TASKS, find

__all__ = ["TASKS", "Anchors", "Code", "Task", "find", "parse_code"]
