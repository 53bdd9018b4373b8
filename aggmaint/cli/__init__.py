"""The `aggmaint` command. `main` is the entry point; the commands live in this package's modules, one per kind of work."""

import sys


def main() -> None:
    """Run the command line; exits with a code of `aggmaint.cli.exits`."""
    try:
        from .app import cli
    except ModuleNotFoundError as exc:
        if exc.name not in ("click", "rich"):
            raise
        sys.stderr.write(f"aggmaint: {exc.name} is not installed; run: pip install 'aggmaint[cli]'\n")
        sys.exit(2)
    cli()
