"""What is asked of a backbone: the tasks, their codes, and the protocols that validate them."""

from etab.tasks.base import Task
from etab.tasks.menu import TASKS, find

__all__ = ["TASKS", "Task", "find"]
