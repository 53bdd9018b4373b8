"""The command group: what all commands share, and how errors become one paragraph and an exit code."""

import os
import sys
from typing import Any

import click

from .. import __version__
from ..errors import AggmaintError
from . import demo, doctoring, operating, planning, reading, scheduling, serving, starting, verifying, working
from .exits import Exit, exit_code_of


class Cli(click.Group):
    """A group whose commands may raise AggmaintError: its message goes to standard error, without a traceback."""

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


for command in (
    starting.init,
    planning.plan,
    working.run,
    operating.apply,
    verifying.verify,
    verifying.certificate,
    operating.rebuild,
    operating.adopt,
    operating.disown,
    reading.status,
    reading.history,
    reading.why,
    reading.why_not,
    scheduling.schedule,
    serving.serve,
    doctoring.doctor,
    demo.demo,
):
    cli.add_command(command)
