"""The command group: what all commands share, and how errors become one paragraph and an exit code.

A command's module is imported when the command is asked for: so `run` and `status` need not wait for the dashboard.
"""

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import click

from .. import __version__
from ..errors import AggmaintError
from .exits import Exit, exit_code_of

COMMANDS: Final[Mapping[str, str]] = {
    "init": "starting",
    "plan": "planning",
    "run": "working",
    "apply": "operating",
    "verify": "verifying",
    "certificate": "verifying",
    "rebuild": "operating",
    "adopt": "operating",
    "disown": "operating",
    "status": "reading",
    "history": "reading",
    "why": "reading",
    "why-not": "reading",
    "schedule": "scheduling",
    "serve": "serving",
    "doctor": "doctoring",
    "demo": "demo",
}
"""The module of each command; there it is the function of that name."""


class Cli(click.Group):
    """A group whose commands may raise AggmaintError: its message goes to standard error, without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(
            import_module(f".{COMMANDS[cmd_name]}", __package__), cmd_name.replace("-", "_")
        )
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AggmaintError as exc:
            click.echo(f"aggmaint: {exc.message}", err=True)
            sys.exit(exit_code_of(exc))
        except KeyboardInterrupt:
            click.echo("aggmaint: interrupted", err=True)
            sys.exit(Exit.INTERRUPTED)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: end without a word
            sys.exit(Exit.OK)


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="aggmaint")
def cli() -> None:
    """Keeps every tenant's aggregate tables fresh, healthy and affordable.

    \b
    Exit codes: 0 ok · 1 a step failed · 2 usage or configuration · 3 already running
                4 the job store's schema is not this version's · 5 the warehouse is held by another process
    """
