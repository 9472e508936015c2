"""``python -m etab`` is the ``etab`` command."""

from etab.cli import main

if __name__ == "__main__":
    main()
