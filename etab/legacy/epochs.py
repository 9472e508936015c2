"""The output of ``ETABmodel.fit``, as in 2022: a line for each epoch."""

from __future__ import annotations

import sys

from etab.training.loop import Progress


class EpochPrinter:
    """Prints a line for each epoch.

    Attributes:
        epochs: Number of epochs of the training.
        printed: Number of epochs that have been printed.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.printed = 0

    def __call__(self, progress: Progress) -> None:
        """Print the epochs that have ended since the last call.

        Args:
            progress: The progress of the training.
        """
        for epoch in range(self.printed, len(progress.history)):
            row = progress.history[epoch]
            sys.stdout.write(
                f"Epoch: {epoch + 1}/{self.epochs} loss: {row['train']:.4f} "
                f"val_loss: {row['validation']:.4f}\n"
            )
        self.printed = max(self.printed, len(progress.history))

    def finish(self, progress: Progress) -> None:
        """Print the last epochs, and the epoch whose weights the model has.

        Args:
            progress: The progress at the end of the training.
        """
        self(progress)
        sys.stdout.write(
            f"kept: epoch {progress.best_epoch + 1}, validation loss {progress.best_loss:.4f}\n"
        )
