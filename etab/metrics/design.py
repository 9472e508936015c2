"""The division of patients into training and test, and the variance that its draw adds.

The variance of a value over test patients leaves out that other training patients would have given
another fit. The shares below, measured as ``docs/methods.md`` describes, make up for it.
"""

from __future__ import annotations

from dataclasses import dataclass

TRAINING_OF_VALUE = 0.12
"""Effect of a training patient on a value, as a share of the effect of a test patient."""
TRAINING_OF_DIFFERENCE = 0.3
"""The share for the difference of two backbones, in which noise of test patients partly cancels."""
TRAINING_OF_DECISION = 0.3
"""The share for a value of decided classes. It is larger because a small change of a fit changes
the decisions for many patients.
"""
TRAINING_OF_FIXED_DECISION = 0.5
"""The share for a value of classes that a fixed threshold decides."""
FOLDS_OF_ONE_DIVISION = 0.15
"""Added to these shares, for the draw of the folds, where the patients are divided only once."""


@dataclass(frozen=True, slots=True)
class FoldDesign:
    """How patients were divided into training and test.

    Attributes:
        n_fold: Number of folds of one division; 1 for one split into training and test.
        repeats: Number of divisions of the same patients into folds.
        test_share: Test patients of a fit over its training patients: 0.25 for five folds.
        alike: Whether the folds are random draws from the same patients. Databases that are left
            out one at a time are not: they differ in more than noise.
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
        """Factor by which the draw of the training patients multiplies the variance of a value.

        Example:
            >>> FoldDesign(n_fold=5, repeats=5, test_share=0.25).value_factor
            1.15
            >>> FoldDesign.of_split(100, 400).value_factor
            1.03
        """
        return self._factor(TRAINING_OF_VALUE)

    @property
    def decision_factor(self) -> float:
        """The factor for decided classes whose threshold was chosen on training patients."""
        return self._factor(TRAINING_OF_DECISION)

    @property
    def fixed_decision_factor(self) -> float:
        """The factor for classes that a fixed threshold decides."""
        return self._factor(TRAINING_OF_FIXED_DECISION)

    @property
    def difference_factor(self) -> float:
        """The factor for the difference of two values."""
        return self._factor(TRAINING_OF_DIFFERENCE)

    def _factor(self, share: float) -> float:
        """Compute 1 + share * (tested patients / training patients).

        The share is unknown where databases are left out one at a time. There it is 1: a training
        patient counts as much as a test patient (Nadeau and Bengio, Machine Learning 52, 2003).
        """
        if not self.alike:
            share = 1.0
        elif self.n_fold > 1 and self.repeats == 1:
            share += FOLDS_OF_ONE_DIVISION
        tested_over_training = self.n_fold * self.test_share
        return 1 + share * tested_over_training
