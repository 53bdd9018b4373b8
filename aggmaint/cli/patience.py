"""Reading the warehouse so that Ctrl-C is heard: the driver does not listen to signals while a query runs."""

import os
import threading
from collections.abc import Callable
from typing import TypeVar

import click

from .exits import Exit

Answer = TypeVar("Answer")


def patiently(call: Callable[[], Answer]) -> Answer:
    """`call()` in a thread, for which this one waits. Ctrl-C leaves the process at once: who only reads leaves nothing."""
    answers: list[Answer] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(call())
        except BaseException as exc:
            problems.append(exc)

    thread = threading.Thread(target=run, name="aggmaint-reading", daemon=True)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        click.echo("aggmaint: interrupted", err=True)
        os._exit(Exit.INTERRUPTED)
    if problems:
        raise problems[0]
    return answers[0]
