"""How things look: tables and sentences, coloured on a terminal (rich obeys NO_COLOR), plain and without rich when piped."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from ..core.job import MaintenanceJob

STYLES = {
    "active": "green",
    "done": "green",
    "fresh": "green",
    "ok": "green",
    "stale": "yellow",
    "pending": "yellow",
    "inprogress": "cyan",
    "warning": "yellow",
    "failed": "red",
    "problem": "red",
    "unreliable": "red",
    "invalid": "red",
}
"""Words that carry a colour. The word says it too: colour is never the only sign."""


def say(text: str = "") -> None:
    if not sys.stdout.isatty():
        click.echo(text)
        return
    from rich.console import Console

    Console(soft_wrap=True).print(text, markup=False, highlight=False)


def title(text: str) -> None:
    if not sys.stdout.isatty():
        click.echo(text)
        return
    from rich.console import Console
    from rich.markup import escape

    Console(soft_wrap=True).print(f"[bold]{escape(text)}[/bold]", highlight=False)


def job(value: MaintenanceJob) -> dict[str, Any]:
    """A job as JSON has it, here and over HTTP."""
    from ..asgi.wire import job_to_wire

    return dict(job_to_wire(value))


def document(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table with columns as wide as they need to be; numbers to the right."""
    if not sys.stdout.isatty():
        _plain_table(headers, rows)
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for index, header in enumerate(headers):
        right = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        shown.add_column(header, justify="right" if right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(_styled(cell) for cell in row))
    Console().print(shown)


def _plain_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    texts = [list(headers), *([cell_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in texts) for index in range(len(headers))]
    for row in texts:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _styled(cell: Any) -> str:
    from rich.markup import escape

    text = escape(cell_text(cell))
    style = STYLES.get(cell) if isinstance(cell, str) else None
    return f"[{style}]{text}[/{style}]" if style else text


def cell_text(cell: Any) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, datetime):
        return instant(cell)
    if isinstance(cell, float):
        return f"{cell:.2f}"
    if isinstance(cell, int) and not isinstance(cell, bool):
        return f"{cell:,}"
    return str(cell)


def instant(value: datetime | str | None) -> str:
    """An instant to the second, in UTC."""
    if value is None:
        return "-"
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def partitions(keys: Sequence[str], *, shown: int = 4) -> str:
    """Some keys; of many, the first, the last and how many."""
    if not keys:
        return "-"
    if len(keys) <= shown:
        return ", ".join(keys)
    return f"{keys[0]} … {keys[-1]} ({len(keys)})"
