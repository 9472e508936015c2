"""How patients were divided into training and test, and what another draw of them would move.

The shares were measured, see ``docs/methods.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

TRAINING_OF_VALUE = 0.12
"""How much a training patient moves a value, as a share of what a test patient moves it by."""
TRAINING_OF_DIFFERENCE = 0.3
"""The same of the difference of two backbones, whose noise of test patients partly cancels."""
TRAINING_OF_DECISION = 0.3
"""The same of a value of decided classes: a small change of a fit moves the decisions for many
patients.
"""
TRAINING_OF_FIXED_DECISION = 0.5
"""The same where a fixed threshold decides, and none that is chosen on the training patients."""
FOLDS_OF_ONE_DIVISION = 0.15
"""What the draw of the folds adds to these shares where the patients are divided only once."""


@dataclass(frozen=True, slots=True)
class FoldDesign:
    """How patients were divided into training and test.

    Attributes:
        n_fold: Fits of one repeat, whose test patients are different people; 1 for one split.
        repeats: Divisions of the same patients into folds.
        test_share: Test patients of a fit over its training patients: 0.25 for five folds.
        alike: Whether the folds are random draws from the same patients. Databases that are left
            out one at a time are not: what they differ by is no noise.
    """

    n_fold: int
    repeats: int
    test_share: float
    alike: bool = True

    @classmethod
    def of_split(cls, n_test: float, n_train: float) -> FoldDesign:
        """Describe one split into training and test.

        Args:
            n_test: Number of test patients.
            n_train: Number of training patients, 1 or more.

        Returns:
            The design.

        Example:
            >>> FoldDesign.of_split(50, 200)
            FoldDesign(n_fold=1, repeats=1, test_share=0.25, alike=True)
        """
        return cls(n_fold=1, repeats=1, test_share=n_test / n_train)

    @property
    def value_factor(self) -> float:
        """What the training draw multiplies the variance of a value over patients by.

        Example:
            >>> FoldDesign(n_fold=5, repeats=5, test_share=0.25).value_factor
            1.15
            >>> FoldDesign.of_split(100, 400).value_factor
            1.03
        """
        return self._factor(TRAINING_OF_VALUE)

    @property
    def decision_factor(self) -> float:
        """The same of a value of decided classes, by a threshold that training patients chose."""
        return self._factor(TRAINING_OF_DECISION)

    @property
    def fixed_decision_factor(self) -> float:
        """The same of a value of classes that a fixed threshold decides."""
        return self._factor(TRAINING_OF_FIXED_DECISION)

    @property
    def difference_factor(self) -> float:
        """The same of the difference of two values."""
        return self._factor(TRAINING_OF_DIFFERENCE)

    def _factor(self, share: float) -> float:
        """One plus a share of tested over training patients.

        Where databases are left out, a training patient counts as much as a test patient (Nadeau
        and Bengio, Machine Learning 52, 2003): nothing is known of it.
        """
        if not self.alike:
            share = 1.0
        elif self.n_fold > 1 and self.repeats == 1:
            share += FOLDS_OF_ONE_DIVISION
        tested_over_training = self.n_fold * self.test_share
        return 1 + share * tested_over_training
