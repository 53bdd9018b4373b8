"""`init`: a commented configuration to begin with."""

from importlib.resources import files
from pathlib import Path

import click

from ..config import CONFIG_NAME
from ..errors import ConfigurationError
from . import show


@click.command()
@click.argument("path", default=CONFIG_NAME, type=click.Path(dir_okay=False))
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
def init(path: str, force: bool) -> None:
    """Write a commented aggmaint.toml, to be filled in."""
    place = Path(path)
    if place.exists() and not force:
        raise ConfigurationError(f"{place} exists; edit it, or overwrite it with --force")
    text = files("aggmaint.cli").joinpath("template.toml").read_text(encoding="utf-8")
    try:
        place.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ConfigurationError(f"{place} can not be written: {exc}") from exc
    show.say(f"wrote {place}; fill in [warehouse], [sources] and [[aggregate]], then try: aggmaint plan")
