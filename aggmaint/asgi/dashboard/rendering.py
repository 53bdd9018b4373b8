"""From a page's model to a response: templates with autoescape, static files from memory, headers that pages need.

The Content-Security-Policy allows nothing but this origin's own files: no inline script or style, no frame, no plug-in.
`same-origin` as Referrer-Policy instead of the API's `no-referrer`: with that one, browsers send `Origin: null` with the
forms of a page served over plain http, and the guard against forged requests could not tell ours from another site's.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from . import links, words
from .actions import NOTICES

HERE: Final = Path(__file__).parent
PAGE_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@frozen
class StaticFile:
    content: bytes
    media_type: str


class Pages:
    """Renders templates. Safe for many threads. `title` is what the product is called in the head of each page."""

    def __init__(self, title: str) -> None:
        self.static = {
            path.name: StaticFile(path.read_bytes(), _TYPES[path.suffix])
            for path in sorted((HERE / "static").iterdir())
            if path.suffix in _TYPES
        }
        digest = hashlib.sha256(b"".join(each.content for each in self.static.values()))
        environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.globals.update(title=title, version=digest.hexdigest()[:12], to=links.to)
        environment.filters.update(
            instant=words.instant,
            iso=_iso,
            ago=words.relative,
            duration=words.duration,
            count=words.count,
            compact=words.compact,
            plural=words.plural,
            trigger=words.trigger,
            step=words.step,
            code=words.code,
            sentence=words.sentence,
            took=lambda job: words.took(job.started_at, job.ended_at),
        )
        self._environment = environment

    def render(self, template: str, *, status: int = 200, notice: str = "", **more: Any) -> Response:
        """`notice`: a code of NOTICES; an unknown one shows nothing."""
        html = self._environment.get_template(template).render(notice=NOTICES.get(notice), **more)
        return Response(html.encode("utf-8", "replace"), status, dict(PAGE_HEADERS), "text/html; charset=utf-8")

    def file(self, name: str) -> Response | None:
        """A static file; its address changes with its content, so it may be kept for long."""
        found = self.static.get(name)
        if found is None:
            return None
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(found.content, 200, headers, found.media_type)


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
