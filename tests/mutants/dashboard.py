"""Bugs to plant in the dashboard, and the test that must see each; see catalogue.py."""

from .mutant import Mutant

AT = "aggmaint/asgi/dashboard/"
BY = "tests/dashboard/test_"

DASHBOARD_MUTANTS = (
    Mutant(
        "dashboard: an organisation's page asks for no right",
        AT + "app.py",
        """        await self._admission.admit(visit.judged, org_id, Permission.VIEW)
        may_manage = await self._may(visit, org_id, Permission.MANAGE)
        status = _status(""",
        """        may_manage = await self._may(visit, org_id, Permission.MANAGE)
        status = _status(""",
        BY + "rights.py::test_who_is_denied_gets_what_an_unknown_organisation_gets",
    ),
    Mutant(
        "dashboard: viewers act",
        AT + "app.py",
        "await self._admission.admit(visit.judged, org_id, Permission.MANAGE)",
        "await self._admission.admit(visit.judged, org_id, Permission.VIEW)",
        BY + "rights.py::test_every_action_needs_the_right_to_manage",
    ),
    Mutant(
        "dashboard: live streams need no right",
        AT + "app.py",
        """        await self._admission.admit(visit.judged, org_id, Permission.VIEW)
        if visit.request.method""",
        """        if visit.request.method""",
        BY + "rights.py::test_who_is_denied_gets_what_an_unknown_organisation_gets",
    ),
    Mutant(
        "dashboard: the document is read before the right is asked",
        AT + "app.py",
        """        await self._admission.admit(visit.judged, org_id, Permission.VIEW)
        if visit.request.method""",
        """        await self._threads.run(self._engine.get_organization, org_id)
        await self._admission.admit(visit.judged, org_id, Permission.VIEW)
        if visit.request.method""",
        BY + "rights.py::test_a_verdict_is_asked_before_anything_is_read",
    ),
    Mutant(
        "dashboard: the list shows everybody",
        AT + "app.py",
        "if query.matches(document) and await self._may(visit, document.org_id, Permission.VIEW):",
        "if query.matches(document):",
        BY + "rights.py::test_the_list_shows_what_one_may_view_and_tells_of_nothing_else",
    ),
    Mutant(
        "dashboard: the list goes on from an organisation that was not shown",
        AT + "pages/organizations.py",
        "query.link(after=rows[-1].document.org_id)",
        "query.link(after=rows[-1].document.org_id[:-1] + chr(ord(rows[-1].document.org_id[-1]) + 1))",
        BY + "rights.py::test_cursors_name_only_organisations_that_were_shown",
    ),
    Mutant(
        "dashboard: buttons for everybody",
        AT + "pages/organization.py",
        "        may_manage=may_manage,\n",
        "        may_manage=True,\n",
        BY + "rights.py::test_buttons_are_for_those_who_may_press_them",
    ),
    Mutant(
        "dashboard: what is dear asks by the page only",
        AT + "app.py",
        'if question is not None and form.get("confirmed") != "yes":',
        "if False and question is not None:",
        BY + "actions.py::test_what_is_dear_asks_first_and_does_nothing_unasked",
    ),
    Mutant(
        "dashboard: a pause is not asked about before a run",
        AT + "actions.py",
        "    if document.paused is None:\n        return None\n",
        "    if document.paused is None or True:\n        return None\n",
        BY + "actions.py::test_what_is_dear_asks_first_and_does_nothing_unasked",
    ),
    Mutant(
        "dashboard: a rebuild is an ordinary run",
        AT + "actions.py",
        "order.engine.run_immediately(order.org_id, options=wanted.to_json())",
        "order.engine.run_immediately(order.org_id, options={**wanted.to_json(), 'rebuild': {}})",
        BY + "actions.py::test_a_rebuild_is_asked_and_asks_the_task_for_nothing_else",
    ),
    Mutant(
        "dashboard: templates do not escape",
        AT + "rendering.py",
        "            autoescape=True,\n",
        "            autoescape=False,\n",
        BY + "foreign.py::test_a_hostile_name_is_text_everywhere",
    ),
    Mutant(
        "dashboard: the policy allows inline scripts",
        AT + "rendering.py",
        "script-src 'self';",
        "script-src 'self' 'unsafe-inline';",
        BY + "pages.py::test_the_list_shows_how_each_organisation_stands",
    ),
    Mutant(
        "dashboard: links begin at the root",
        AT + "links.py",
        'HOME: Final = "./"',
        'HOME: Final = "/dashboard/"',
        BY + "pages.py::test_every_link_leads_somewhere_below_any_mount",
    ),
    Mutant(
        "dashboard: sign-in leads anywhere",
        AT + "links.py",
        "    if page not in PAGES or",
        "    if",
        BY + "foreign.py::test_only_pages_of_the_dashboard_are_followed",
    ),
    Mutant(
        "dashboard: scripts read the session cookie",
        AT + "app.py",
        'path=None, httponly=True, samesite="strict", secure=secure',
        'path=None, httponly=False, samesite="strict", secure=secure',
        BY + "sessions.py::test_the_cookie_is_for_this_site_and_no_script_and_says_nothing",
    ),
    Mutant(
        "dashboard: the cookie is the token",
        AT + "sessions.py",
        "        session_id = secrets.token_urlsafe(32)\n",
        "        session_id = token\n",
        BY + "sessions.py::test_the_cookie_is_for_this_site_and_no_script_and_says_nothing",
    ),
    Mutant(
        "dashboard: sessions never end",
        AT + "sessions.py",
        "session.ends_at_s <= self._steady()",
        "session.ends_at_s <= float('-inf')",
        BY + "sessions.py::test_sessions_end_and_are_bounded",
    ),
    Mutant(
        "dashboard: signing out keeps the session",
        AT + "app.py",
        '            self._sessions.close(visit.request.cookies.get(COOKIE, ""))\n',
        "            pass\n",
        BY + "sessions.py::test_signing_out_ends_the_session_for_good",
    ),
    Mutant(
        "dashboard: tokens are tried without charge",
        AT + "app.py",
        "            self._admission.charge_address(visit.request)  # so that nobody tries tokens by the thousand\n",
        "",
        BY + "sessions.py::test_tokens_can_not_be_tried_by_the_thousand",
    ),
    Mutant(
        "dashboard: every stream looks for itself",
        AT + "live.py",
        "            if now - watch.looked_at_s < POLL_S:\n",
        "            if now - watch.looked_at_s < 0:\n",
        BY + "live.py::test_the_store_is_asked_once_a_second_however_many_watch",
    ),
    Mutant(
        "dashboard: streams are not bounded",
        AT + "live.py",
        "if self._open >= self.streams_max or self.stopping.is_set():",
        "if self.stopping.is_set():",
        BY + "live.py::test_places_are_bounded_and_given_back",
    ),
    Mutant(
        "dashboard: a stream that ends keeps its place",
        AT + "live.py",
        "            self.streams.leave(self.org_id)\n",
        "            pass\n",
        BY + "live.py::test_places_are_bounded_and_given_back",
    ),
    Mutant(
        "dashboard: a stream does not see its client leave",
        AT + "live.py",
        "                group.start_soon(watch_client)\n",
        "",
        BY + "live.py::test_a_client_that_leaves_ends_its_stream_and_frees_its_place",
    ),
    Mutant(
        "dashboard: a stream outlives the rights that it began with",
        AT + "live.py",
        "ended = (said is not None and said.over) or now_s - opened_at_s >= LIFE_S",
        "ended = (said is not None and said.over) or now_s - opened_at_s >= 2 * LIFE_S",
        BY + "live.py::test_a_stream_ends_in_time_so_that_rights_are_asked_again",
    ),
    Mutant(
        "dashboard: a stream ends while its job runs",
        AT + "live.py",
        "if running is not None and job_id in (None, running.job.id):",
        "if running is not None and job_id is None:",
        BY + "live.py::test_what_is_told",
    ),
    Mutant(
        "dashboard: unknown states are fresh",
        AT + "states.py",
        "        return State.UNKNOWN\n",
        "        return State.FRESH\n",
        BY + "states.py::test_a_word_that_is_not_known_is_unknown_never_fresh",
    ),
    Mutant(
        "dashboard: failed steps leave their partitions stale",
        AT + "states.py",
        "if facts.key in failed and state is not State.FRESH:",
        "if False and state is not State.FRESH:",
        BY + "states.py::test_what_a_failed_step_should_have_refreshed_is_failed_and_says_both_reasons",
    ),
    Mutant(
        "dashboard: periods that are wanted are not missed",
        AT + "states.py",
        'if key not in published and decision.action == "refresh":',
        'if key in published and decision.action == "refresh":',
        BY + "states.py::test_a_period_that_was_wanted_and_is_not_published_is_missing",
    ),
    Mutant(
        "dashboard: marks change nothing",
        AT + "reading.py",
        "content = with_marks(inventory.content, document.marks)",
        "content = with_marks(inventory.content, ())",
        BY + "pages.py::test_the_aggregate_shows_every_partition_and_why_it_is_stale",
    ),
    Mutant(
        "dashboard: the best partition speaks for the aggregate",
        AT + "states.py",
        "next((each for each in WORST_FIRST if",
        "next((each for each in reversed(WORST_FIRST) if",
        BY + "states.py::test_the_worst_partition_speaks_for_the_aggregate",
    ),
    Mutant(
        "dashboard: weeks lie in calendar years",
        AT + "heatmap.py",
        'return f"{iso.year:04d}", iso.week - 1',
        "return key[:4], iso.week - 1",
        BY + "geometry.py::test_each_period_has_its_place",
    ),
    Mutant(
        "dashboard: reports of another shape break the page",
        AT + "facts.py",
        "    return value if isinstance(value, Mapping) else {}\n",
        "    return value  # type: ignore[return-value]\n",
        BY + "foreign.py::test_reading_never_fails",
    ),
)
