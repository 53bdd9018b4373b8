"""`python -m aggmaint`: the same as the `aggmaint` command."""

from .cli import main

if __name__ == "__main__":
    main()
