"""The dashboard as an ASGI application: which page, for whom, and what is answered when something is wrong.

Theory of operation. Every page and every action asks the authoriser before anything about an organisation is read: view to
look, manage to act. Who is denied gets the page that an unknown organisation gets, byte for byte. The guard against forged
requests and the last net stand before this application (guards.py); here, expected failures become pages in the same look.
Engine calls and rendering block, so they run in threads.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from attrs import frozen
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from ...core.ids import OrgId, parse_org_id
from ...core.job import JobStatus
from ...core.organization import OrgSnapshot
from ...engine import MaintenanceEngine
from ...errors import InvalidValueError, JobNotFoundError
from .._door import LimitedBody
from .._paths import read_path
from .._replies import RequestError, hidden, translate
from .._threads import Threads
from ..access import Access, Permission
from ..admission import Admission, user_of
from . import links
from .actions import ACTIONS, Action, Order, Question
from .live import Stream, Streams
from .pages.aggregate import aggregate_page
from .pages.job import Decisions, job_page
from .pages.organization import organization_page
from .pages.organizations import ROWS, ListQuery, Sort, list_page
from .reading import Reader
from .rendering import Pages
from .sessions import COOKIE, Sessions, is_token, with_token

FENCE_MAX: Final = 2**63 - 1
_PROBE: Final = OrgId("default")
_log = logging.getLogger("aggmaint.asgi.dashboard")


@frozen
class Visit:
    """One request: as the browser sent it, and as the authoriser is to judge it."""

    request: Request
    judged: Request
    body: LimitedBody

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    @property
    def org_id(self) -> OrgId:
        """Raises InvalidOrgIdError."""
        return parse_org_id(self.query.get("org", ""))

    @property
    def user(self) -> str:
        """Who the authoriser says it is."""
        return (user_of(self.judged) or "dashboard")[:255]

    async def form(self) -> dict[str, str]:
        content = await self.body.drain()
        return dict(parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True))


Handler = Callable[[Visit], Awaitable[ASGIApp]]


class DashboardApp:
    """All pages. `sessions`: browsers sign in here with a token; None: the host signs them in."""

    def __init__(
        self,
        engine: MaintenanceEngine,
        admission: Admission,
        threads: Threads,
        *,
        pages: Pages,
        streams: Streams,
        sessions: Sessions | None,
    ) -> None:
        self._engine = engine
        self._admission = admission
        self._threads = threads
        self._pages = pages
        self._streams = streams
        self._sessions = sessions
        self._reader = Reader(engine)
        self._routes: Mapping[tuple[str, str], Handler] = {
            ("GET", ""): self._organizations,
            ("GET", "organization"): self._organization,
            ("GET", "aggregate"): self._aggregate,
            ("GET", "job"): self._job,
            ("GET", "events"): self._events,
            ("GET", "act"): self._ask,
            ("POST", "act"): self._act,
            ("GET", "sign-in"): self._sign_in_page,
            ("POST", "sign-in"): self._sign_in,
            ("POST", "sign-out"): self._sign_out,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await WebSocketClose()(scope, receive, send)
            return
        body = LimitedBody(receive)
        request = Request(scope, body)
        judged = self._sessions.signed_in(request) if self._sessions else request
        try:
            answer = await self._answer(Visit(request, judged, body))
        except Exception as exc:
            answer = await self._explain(request, exc)
        if scope["method"] == "HEAD" and isinstance(answer, Response):
            answer.body = b""  # the headers stay those of GET, the length included
        await answer(scope, body, send)

    async def _answer(self, visit: Visit) -> ASGIApp:
        segments = read_path(visit.request.scope).segments
        if not segments:
            return RedirectResponse(f"{visit.request.scope['root_path'].rpartition('/')[2]}/", 307)
        if len(segments) == 2 and segments[0] == "static" and visit.request.method in ("GET", "HEAD"):
            found = self._pages.file(segments[1])
            if found is not None:
                return found
        method = "GET" if visit.request.method == "HEAD" else visit.request.method
        handler = self._routes.get((method, segments[0])) if len(segments) == 1 else None
        if handler is None:
            self._admission.charge_address(visit.request)
            known = len(segments) == 1 and any(path == segments[0] for _, path in self._routes)
            raise RequestError(405 if known else 404, "there is no such page")
        return await handler(visit)

    # -- pages ---------------------------------------------------------------------------------------------------------

    async def _organizations(self, visit: Visit) -> Response:
        query = ListQuery.read(visit.query)
        verdict = await self._admission.verdict(visit.judged, _PROBE, Permission.VIEW)
        if verdict is Access.UNAUTHENTICATED:
            self._admission.charge_address(visit.request)
            raise RequestError(401, "sign in to see this page")
        documents, more = await self._matching(visit, query)

        def make() -> Response:
            rows = [self._reader.row(document) for document in documents]
            return self._render(visit, "organizations.html", page=list_page(query, rows, self._reader.now(), more=more))

        return await self._threads.run(make)

    async def _matching(self, visit: Visit, query: ListQuery) -> tuple[list[OrgSnapshot], bool]:
        """The documents of one page of the list, and whether more follow. See pages/organizations.py."""
        by_name = query.sort is Sort.NAME
        after = query.after if by_name and query.after else None
        found: list[OrgSnapshot] = []
        limit = 100
        while True:
            page = await self._threads.run(self._engine.list_organizations, after=after, limit=limit)
            for document in page.snapshots:
                if query.matches(document) and await self._may(visit, document.org_id, Permission.VIEW):
                    found.append(document)
                    if by_name and len(found) > ROWS:
                        return found[:ROWS], True
            if page.next is None:
                break
            after, limit = page.next, 1000
        if by_name:
            return found, False
        start = (query.page - 1) * ROWS
        return query.sorted(found)[start : start + ROWS], len(found) > start + ROWS

    async def _organization(self, visit: Visit) -> Response:
        org_id = visit.org_id
        await self._admission.admit(visit.judged, org_id, Permission.VIEW)
        may_manage = await self._may(visit, org_id, Permission.MANAGE)
        status = _status(visit.query.get("status", ""))
        before = _fence(visit.query.get("before", ""))

        def make() -> Response:
            data = self._reader.organization(org_id, before=before, status=status)
            page = organization_page(data, may_manage=may_manage, status=status, before=before)
            return self._render(visit, "organization.html", page=page)

        return await self._threads.run(make)

    async def _aggregate(self, visit: Visit) -> Response:
        org_id = visit.org_id
        await self._admission.admit(visit.judged, org_id, Permission.VIEW)
        may_manage = await self._may(visit, org_id, Permission.MANAGE)

        def make() -> Response:
            definition_id, partition = visit.query.get("id", ""), visit.query.get("partition", "")
            data = self._reader.aggregate(org_id)
            page = aggregate_page(data, definition_id, partition=partition, may_manage=may_manage)
            if page is None:
                raise RequestError(404, "the newest inventory knows no such aggregate; it may have been removed")
            return self._render(visit, "aggregate.html", page=page)

        return await self._threads.run(make)

    async def _job(self, visit: Visit) -> Response:
        org_id = visit.org_id
        await self._admission.admit(visit.judged, org_id, Permission.VIEW)
        may_manage = await self._may(visit, org_id, Permission.MANAGE)
        show = Decisions.ALL if visit.query.get("decisions") == Decisions.ALL.value else Decisions.WORTH

        def make() -> Response:
            page = job_page(self._reader.job(org_id, visit.query.get("job", "")), show=show, may_manage=may_manage)
            return self._render(visit, "job.html", page=page)

        return await self._threads.run(make)

    async def _events(self, visit: Visit) -> ASGIApp:
        org_id = visit.org_id
        await self._admission.admit(visit.judged, org_id, Permission.VIEW)
        if visit.request.method == "HEAD":
            raise RequestError(405, "streams are read by GET")
        await self._threads.run(self._engine.get_organization, org_id)  # an unknown one is told before a stream begins
        if not self._streams.enter(org_id):
            raise RequestError(503, "too many pages follow jobs live at the moment", headers={"Retry-After": "10"})
        return Stream(self._streams, org_id, visit.query.get("job") or None)

    # -- actions -------------------------------------------------------------------------------------------------------

    async def _ask(self, visit: Visit) -> Response:
        action, org_id, document = await self._asked(visit)
        question = action.ask(document, visit.query)
        if question is None:
            return _redirect(links.to("organization", org=org_id))
        return await self._question(visit, question, visit.query)

    async def _act(self, visit: Visit) -> Response:
        action, org_id, document = await self._asked(visit)
        form = {**visit.query, **await visit.form()}
        question = action.ask(document, form)
        if question is not None and form.get("confirmed") != "yes":
            return await self._question(visit, question, form)
        try:
            done = await self._threads.run(action.do, Order(self._engine, org_id, form, visit.user))
        except InvalidValueError as problem:
            if question is None:
                raise RequestError(400, problem.message) from problem
            return await self._question(visit, question, form, problem=problem.message)
        separator = "&" if "?" in done.page else "?"
        return _redirect(f"{done.page}{separator}notice={done.notice}")

    async def _asked(self, visit: Visit) -> tuple[Action, OrgId, OrgSnapshot]:
        """The action, for whom, and how the organisation stands. The right to manage it is needed to be told anything."""
        org_id = visit.org_id
        await self._admission.admit(visit.judged, org_id, Permission.MANAGE)
        action = ACTIONS.get(visit.query.get("action", ""))
        if action is None:
            raise RequestError(404, "there is no such action")
        return action, org_id, await self._threads.run(self._engine.get_organization, org_id)

    async def _question(
        self, visit: Visit, question: Question, form: Mapping[str, str], *, problem: str = ""
    ) -> Response:
        query = {
            key: visit.query[key]
            for key in ("org", "action", "job", "schedule", "aggregate", "partition")
            if key in visit.query
        }
        more: dict[str, Any] = {
            "question": question,
            "form": form,
            "problem": problem,
            "org_id": visit.org_id,
            "target": links.to("act", **query),
            "back": links.to("organization", org=visit.org_id),
        }
        return await self._threads.run(
            lambda: self._render(visit, "question.html", status=422 if problem else 200, **more)
        )

    # -- signing in ----------------------------------------------------------------------------------------------------

    async def _sign_in_page(self, visit: Visit) -> Response:
        return await self._sign_in_form(visit.query.get("next", ""))

    async def _sign_in_form(self, target: str, *, problem: str = "") -> Response:
        if self._sessions is None:
            raise RequestError(404, "there is no such page")
        return await self._threads.run(
            lambda: self._pages.render(
                "sign_in.html",
                status=401 if problem else 200,
                target=links.safe_target(target),
                problem=problem,
                signed_in=False,
            )
        )

    async def _sign_in(self, visit: Visit) -> Response:
        form = await visit.form()
        token, target = form.get("token", "").strip(), form.get("next", "")
        if self._sessions is None or not is_token(token):
            return await self._sign_in_form(target, problem="Enter the token as it was given to you.")
        verdict = await self._admission.verdict(with_token(visit.request, token), _PROBE, Permission.VIEW)
        if verdict is Access.UNAUTHENTICATED:
            self._admission.charge_address(visit.request)  # so that nobody tries tokens by the thousand
            return await self._sign_in_form(target, problem="This token is unknown or has expired.")
        answer = _redirect(links.safe_target(target))
        secure = visit.request.url.scheme == "https"
        # Without a path the browser takes the directory of this page: right under every mount, and behind every proxy.
        answer.set_cookie(
            COOKIE, self._sessions.open(token), path=None, httponly=True, samesite="strict", secure=secure
        )
        return answer

    async def _sign_out(self, visit: Visit) -> Response:
        if self._sessions is not None:
            self._sessions.close(visit.request.cookies.get(COOKIE, ""))
        answer = _redirect("sign-in" if self._sessions else links.HOME)
        answer.set_cookie(COOKIE, "", max_age=0, path=None, httponly=True, samesite="strict")
        return answer

    # -- helpers -------------------------------------------------------------------------------------------------------

    async def _may(self, visit: Visit, org_id: OrgId, permission: Permission) -> bool:
        return await self._admission.verdict(visit.judged, org_id, permission) is Access.GRANTED

    def _render(self, visit: Visit, template: str, *, status: int = 200, **more: Any) -> Response:
        return self._pages.render(
            template,
            status=status,
            notice=visit.query.get("notice", ""),
            signed_in=self._sessions is not None and visit.judged is not visit.request,
            **more,
        )

    async def _explain(self, request: Request, exc: Exception) -> Response:
        error = hidden() if isinstance(exc, JobNotFoundError) else translate(exc)
        if error.status == 401 and self._sessions is not None:
            asked = f"{request.url.path.rpartition('/')[2]}?{request.url.query}" if request.method == "GET" else ""
            return _redirect(links.to("sign-in", next=links.safe_target(asked)))
        if error.status >= 500 and error is not exc:
            _log.error("%s %r failed", request.method, request.url.path, exc_info=exc)
        answer = await self._threads.run(
            lambda: self._pages.render("problem.html", status=error.status, error=error, signed_in=False)
        )
        answer.headers.update(error.headers)
        return answer


def _redirect(target: str) -> RedirectResponse:
    return RedirectResponse(target, 303)


def _status(text: str) -> JobStatus | None:
    return JobStatus(text) if text in list(JobStatus) else None


def _fence(text: str) -> int | None:
    """The cursor of the history: a fence number; what is none counts as not given."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= FENCE_MAX else None
