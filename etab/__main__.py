"""``python -m etab`` is the ``etab`` command."""

from etab.cli.main import main

if __name__ == "__main__":
    main()
