"""``python -m society`` is the command ``locution``."""

from society.cli import main

if __name__ == "__main__":
    main()
