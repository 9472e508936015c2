"""``python -m etab`` is the ``etab`` command."""

from etab.cli.supervised import start

if __name__ == "__main__":
    start()
