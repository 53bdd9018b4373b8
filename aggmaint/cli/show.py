"""How things look: tables and sentences, coloured on a terminal, plain when piped (rich obeys NO_COLOR)."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

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


def console() -> Console:
    """Standard output. When piped: no colour, and wide enough that nothing is cut."""
    return Console(soft_wrap=True) if sys.stdout.isatty() else Console(soft_wrap=True, width=10_000, no_color=True)


def say(text: str = "") -> None:
    console().print(text, markup=False, highlight=False)


def title(text: str) -> None:
    console().print(f"[bold]{escape(text)}[/bold]", highlight=False)


def document(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table with columns as wide as they need to be; numbers to the right."""
    if not sys.stdout.isatty():
        _plain_table(headers, rows)
        return
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
