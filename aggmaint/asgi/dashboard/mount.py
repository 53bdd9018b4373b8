"""`Dashboard`: what a host gives to `create_app(mounted=[…])`."""

import threading
from typing import TYPE_CHECKING

from attrs import field, frozen

from ...engine import MaintenanceEngine
from ...errors import InvalidValueError, MissingExtraError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from .._threads import Threads
    from ..admission import Admission


@frozen(eq=False)
class Dashboard:
    """Pages for people: organisations, aggregates, jobs, schedules.

    path         where it is mounted, beside the API.
    index        whether the app's bare address leads here.
    title        what it is called in the head of each page.
    sign_in      browsers sign in here, with a bearer token that `authorize` knows; a cookie then stands for it. False:
                 the host's `authorize` knows its browsers by itself, e.g. by a session cookie of its own.
    streams_max  how many pages may follow jobs live at once; the others ask now and then.

    Buttons are shown to those who may manage an organisation, and refused to all others. What people do is told to the
    engine under the name in `request.state.aggmaint_user`, which `authorize` may set.
    """

    path: str = "/dashboard"
    index: bool = True
    title: str = "aggmaint"
    sign_in: bool = False
    streams_max: int = 64
    _stopping: threading.Event = field(factory=threading.Event, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.streams_max < 0:
            raise InvalidValueError(f"streams_max={self.streams_max} must be 0 or more")

    def stop(self) -> None:
        """End all live streams within a second or so, because the server wants to stop. Not to be undone."""
        self._stopping.set()

    def build(self, engine: MaintenanceEngine, admission: "Admission", threads: "Threads") -> "ASGIApp":
        """The application; called by `create_app`. Raises MissingExtraError without Jinja2."""
        try:
            from .rendering import Pages
        except ModuleNotFoundError as exc:
            if exc.name is None or exc.name.partition(".")[0] not in ("jinja2", "markupsafe"):
                raise
            raise MissingExtraError("jinja2", "dashboard") from exc
        from .app import DashboardApp
        from .live import Streams
        from .sessions import Sessions

        streams = Streams(engine.get_organization, threads, streams_max=self.streams_max, stopping=self._stopping)
        sessions = Sessions() if self.sign_in else None
        return DashboardApp(engine, admission, threads, pages=Pages(self.title), streams=streams, sessions=sessions)
