"""Bugs to plant in the aggregate half, one per guard, and the test that must see each. See catalogue.py."""

from .mutant import Mutant

SQL = "aggmaint/aggregates/sql.py"
SCANS = "aggmaint/aggregates/scans.py"
PARTITIONS = "aggmaint/aggregates/_plan_partitions.py"
INSTANCES = "aggmaint/aggregates/_plan_instances.py"
PLAN = "aggmaint/aggregates/plan.py"
LEDGER = "aggmaint/warehouses/_duckdb_ledger.py"
WRITER = "aggmaint/warehouses/_duckdb_writer.py"
SESSION = "aggmaint/warehouses/_duckdb_session.py"
OBSERVE = "aggmaint/warehouses/_duckdb_observe.py"
DIALECTS = "aggmaint/aggregates/dialects.py"
RUN = "aggmaint/_maintenance_run.py"
TASK = "aggmaint/maintenance.py"

CLAIMS = "tests/warehouses/test_duckdb_claims.py"
FILES = "tests/warehouses/test_duckdb_files.py"
HEALTH = "tests/maintenance/test_health.py"
RUNS = "tests/maintenance/test_runs.py"
SICK = "tests/maintenance/test_sick.py"
READERS = "tests/maintenance/test_readers.py"
CUTS = "tests/oracle/test_crash_points.py::test_a_run_that_is_cut_off_anywhere_leaves_old_or_new"
STORIES = "tests/oracle/test_scenarios.py"
BOUNDS = "tests/oracle/test_bounds.py"

AGGREGATE_MUTANTS = (
    # -- claim and guard
    Mutant(
        "no guard",
        SESSION,
        "            self._ledger.guard(fence, build_id)\n",
        "",
        f"{CLAIMS}::test_a_zombie_publish_after_the_successors_claim_is_rolled_back",
    ),
    Mutant(
        "the guard comes last",
        SESSION,
        "            self._ledger.guard(fence, build_id)\n            work()",
        "            work()\n            self._ledger.guard(fence, build_id)",
        f"{CLAIMS}::test_the_guard_is_the_first_statement_of_every_writing_transaction",
    ),
    Mutant(
        "guard and claim write other columns",
        LEDGER,
        "SET generation = generation, fence = fence, touch = touch + 1, build = $build",
        "SET build = $build",
        f"{CLAIMS}::test_a_claim_during_a_publish_waits_for_it_or_gives_up",
    ),
    Mutant(
        "guard of any fence",
        LEDGER,
        'AND generation = $generation AND fence = $fence AND open",\n            {**self._identity(), **_fence(fence), "build"',
        'AND $generation IS NOT NULL AND $fence IS NOT NULL AND open",\n            '
        '{**self._identity(), **_fence(fence), "build"',
        f"{CLAIMS}::test_a_zombie_publish_after_the_successors_claim_is_rolled_back",
    ),
    Mutant(
        "claim without touch",
        LEDGER,
        'generation = $generation, fence = $fence, touch = touch + 1, "',
        'generation = $generation, fence = $fence, "',
        f"{CLAIMS}::test_two_claims_of_one_observation_one_of_them_is_refused",
    ),
    Mutant(
        "claim whatever was written since",
        LEDGER,
        'unchanged = "" if touch is None else " AND touch = $touch"',
        'unchanged = "" if touch is None else " AND $touch IS NOT NULL"',
        f"{CLAIMS}::test_two_claims_of_one_observation_one_of_them_is_refused",
    ),
    Mutant(
        "claim with an equal fence",
        LEDGER,
        "(generation = $generation AND fence < $fence)",
        "(generation = $generation AND fence <= $fence)",
        f"{CLAIMS}::test_the_same_fence_claims_once",
    ),
    Mutant(
        "generation does not come first",
        LEDGER,
        "(generation < $generation OR (generation = $generation AND fence < $fence))",
        "($generation IS NOT NULL AND fence < $fence)",
        f"{CLAIMS}::test_the_same_fence_claims_once",
    ),
    Mutant(
        "a stale plan publishes",
        LEDGER,
        "\"WHERE id = $id AND status = 'active' AND build_id = $before\"",
        "\"WHERE id = $id AND status = 'active' AND $before IS NOT NULL\"",
        f"{CLAIMS}::test_two_workers_race_an_empty_partition_and_it_is_not_doubled",
    ),
    Mutant(
        "two first builds serve",
        WRITER,
        "if serving != ([] if old is None else [(old.id, old.build_id)]):",
        "if old is not None and serving != [(old.id, old.build_id)]:",
        f"{CLAIMS}::test_two_first_builds_of_one_aggregate_do_not_both_serve",
    ),
    Mutant(
        "the job store is not asked before a publish",
        "aggmaint/_maintenance_apply.py",
        "        self._context.confirm()\n        self._session.publish(",
        "        self._session.publish(",
        f"{STORIES}::test_a_job_that_was_ended_by_an_operator_publishes_nothing_more",
    ),
    Mutant(
        "a schema of another installation is used",
        LEDGER,
        "if state.installation not in (self._schema.installation, self._schema.adopt_from):",
        "if not state.installation:",
        f"{SICK}::test_another_installation_is_refused",
    ),
    Mutant(
        "a fence behind reads on",
        RUN,
        "(control.generation, control.fence) > (fence.generation, fence.number)",
        "(control.generation, control.fence) > (fence.generation, fence.number + 10**6)",
        f"{SICK}::test_a_restored_job_store_is_refused_with_the_remedy",
    ),
    Mutant(
        "a lost ledger is begun again",
        RUN,
        "if must_exist and control is None:",
        "if False:",
        f"{SICK}::test_a_lost_ledger_is_not_begun_again_when_aggregates_are_known",
    ),
    # -- all or nothing
    Mutant(
        "delete and insert in two transactions",
        WRITER,
        '            self._connection.run(f"DELETE FROM {table} WHERE {where}")\n',
        '            self._connection.run(f"DELETE FROM {table} WHERE {where}")\n'
        "            self._connection.commit()\n            self._connection.begin()\n",
        f"{CUTS}[refresh-dies]",
    ),
    Mutant(
        "the view is dropped, then made",
        WRITER,
        '        self._connection.run(f"CREATE OR REPLACE VIEW {self._ledger.table(name)} AS {select}")',
        '        self._connection.run(f"DROP VIEW IF EXISTS {self._ledger.table(name)}")\n'
        "        self._connection.commit()\n        self._connection.begin()\n"
        '        self._connection.run(f"CREATE OR REPLACE VIEW {self._ledger.table(name)} AS {select}")',
        f"{CUTS}[switch-dies]",
    ),
    Mutant(
        "no intent before the table",
        SESSION,
        "                self._ledger.insert_intent(intent_of(request, fence, at))",
        "                pass",
        f"{RUNS}::test_the_first_run_builds_everything_and_it_equals_the_source",
    ),
    Mutant(
        "the abandoned are kept",
        INSTANCES,
        "        return _drop(instance, Reason.INSTANCE_ABANDONED, own)",
        "        return _keep(instance, Reason.INSTANCE_BUILDING)",
        f"{CUTS}[first_build-dies]",
    ),
    Mutant(
        "old rows stay beside the new",
        WRITER,
        '            self._connection.run(f"DELETE FROM {table} WHERE {where}")\n',
        "",
        f"{RUNS}::test_only_the_changed_partitions_are_refreshed",
    ),
    # -- tokens
    Mutant(
        "XOR instead of sum",
        DIALECTS,
        'return f"COALESCE(SUM({hashed}), 0)"',
        'return f"COALESCE(BIT_XOR({hashed}), 0)"',
        f"{STORIES}::test_a_pair_that_is_exchanged_for_another_pair_is_seen",
    ),
    Mutant(
        "a count for a fingerprint",
        DIALECTS,
        'return f"HASH({listed})" if listed else "0"',
        'return "1" if listed else "0"',
        f"{RUNS}::test_a_balanced_delete_and_insert_is_seen",
    ),
    Mutant(
        "token after data",
        WRITER,
        "        return tuple(self._pieces.postponed(each, answers) or self._build_one(each, answers, tick) for each in requests)\n",
        "        made = tuple(self._build_one(each, answers, tick) for each in requests)\n"
        "        self._connection.commit()\n        self._connection.begin()\n"
        "        late = self._observer.tokens.for_build(definitions, tick, self._deriver.token_requests(requests))\n"
        "        from attrs import evolve\n"
        "        return tuple(\n"
        "            evolve(each, partitions=tuple(\n"
        "                evolve(p, token=dict(late[each.request.definition.id, '']).get(p.period, p.token))\n"
        "                for p in each.partitions\n"
        "            ))\n"
        "            for each in made\n"
        "        )\n",
        f"{READERS}::test_a_base_that_changes_during_a_build_is_seen_by_the_next_run",
    ),
    Mutant(
        "staged from another snapshot than observed",
        SESSION,
        "        staged = []\n        for request in requests:\n            (tick or _silent)(request.definition.label)",
        "        self._end_snapshot()\n        staged = []\n        for request in requests:\n"
        "            (tick or _silent)(request.definition.label)",
        f"{READERS}::test_a_base_that_changes_during_the_run_is_never_published_mixed",
    ),
    Mutant(
        "files are not looked at again",
        OBSERVE,
        "            if self._file_state(path) != self._files.get(path):",
        "            if self._files.get(path) is None:",
        f"{FILES}::test_a_file_that_changes_while_it_is_read_is_left_for_the_next_run",
    ),
    Mutant(
        "tokens of other engines are believed",
        PARTITIONS,
        "        case Comparison.INCOMPARABLE if cause is not Cause.MARK:",
        "        case Comparison.INCOMPARABLE if record is None:",
        f"{HEALTH}::test_a_token_of_another_engine_version_is_its_own_reason",
    ),
    Mutant(
        "damage is not looked for",
        PARTITIONS,
        "    if damage is not None:",
        "    if damage is not None and record is None:",
        f"{HEALTH}::test_damaged_partitions_are_found_and_only_they_are_mended",
    ),
    Mutant(
        "emptied periods stay",
        PARTITIONS,
        "    periods = {*ledger, *contents, *tokens, *looked} if default else",
        "    periods = {*tokens, *looked} if default else",
        f"{RUNS}::test_only_the_changed_partitions_are_refreshed",
    ),
    Mutant(
        "dependencies do not count",
        PARTITIONS,
        "        if key.startswith(DEPENDENCY_KEY) and before.get(key) != token:",
        "        if key.startswith(DEPENDENCY_KEY) and key not in before:",
        f"{SICK}::test_a_dependency_makes_every_partition_stale",
    ),
    Mutant(
        "joined sources do not count",
        "aggmaint/warehouses/_duckdb_tokens.py",
        "        moved = source_moved(instance, tokens)\n",
        "        moved = not definition.joins and source_moved(instance, tokens)\n",
        f"{RUNS}::test_a_dimension_change_refreshes_only_the_partitions_that_it_reaches",
    ),
    Mutant(
        "updated_at without a word about deletions",
        "aggmaint/aggregates/source.py",
        "        if self.updated_at is not None and self.deletes is None:",
        "        if self.updated_at is not None and self.deletes is not None and not self.alias:",
        "tests/aggregates/test_freshness.py",
    ),
    Mutant(
        "a deletion that updated_at can not see",
        "aggmaint/aggregates/declared.py",
        "    if gone > 0 and not (source.deletes",
        "    if gone > 10**9 and not (source.deletes",
        "tests/maintenance/test_tiers.py::test_rows_that_vanish_though_none_may_are_a_finding_and_everything_is_looked_at",
    ),
    # -- periods and bounds
    Mutant(
        "upper bound included",
        SQL,
        "AND {expression} < {engine.date(high)})",
        "AND {expression} <= {engine.date(high)})",
        f"{BOUNDS}::test_the_first_instant_of_the_next_period_is_not_of_this_one",
    ),
    Mutant(
        "lower bound excluded",
        SQL,
        "({expression} >= {engine.date(low)} AND",
        "({expression} > {engine.date(low)} AND",
        f"{BOUNDS}::test_the_first_instant_of_a_period_is_of_it",
    ),
    Mutant(
        "bounds of other zones are exact dates",
        "aggmaint/aggregates/periods.py",
        'margin = timedelta(days=0 if partition.zone == "UTC" else 1)',
        "margin = timedelta(days=0)",
        f"{BOUNDS}::test_an_evening_in_new_york_is_the_next_day_in_utc",
    ),
    Mutant(
        "rows without a date are never removed",
        SQL,
        '    if NULL_PERIOD in periods:\n        clauses.append(f"{PERIOD_COLUMN} IS NULL")',
        '    if NULL_PERIOD in periods:\n        clauses.append(f"{PERIOD_COLUMN} IS NULL AND FALSE")',
        f"{RUNS}::test_only_the_changed_partitions_are_refreshed",
    ),
    # -- whose it is
    Mutant(
        "CASCADE",
        WRITER,
        'self._connection.run(f"DROP {kind} {self._ledger.table(name)}")',
        'self._connection.run(f"DROP {kind} {self._ledger.table(name)} CASCADE")',
        f"{HEALTH}::test_a_view_of_others_over_our_table_survives_as_an_object",
    ),
    Mutant(
        "dropped without a proof of the moment",
        WRITER,
        "        if not fits:\n",
        "        if not fits and tag is None and kind == 'VIEW':\n",
        f"{HEALTH}::test_a_table_swapped_between_plan_and_drop_is_not_dropped",
    ),
    Mutant(
        "a view of others is replaced",
        WRITER,
        "                tag is None or tag.definition_id != definition.id or self._schema.installation != tag.installation\n",
        "                tag is not None and tag.definition_id != definition.id\n",
        f"{HEALTH}::test_a_view_that_somebody_makes_between_plan_and_switch_is_not_replaced",
    ),
    Mutant(
        "a name is proof enough",
        INSTANCES,
        "        and ours(thing, observation, instance.definition_id)\n        and thing.tag is not None\n"
        "        and thing.tag.instance_id == instance.id\n",
        "",
        f"{HEALTH}::test_a_table_made_in_the_place_of_ours_is_not_dropped",
    ),
    Mutant(
        "the plan does not see that the view's name is taken",
        PLAN,
        "        if each.name.casefold() == name.casefold() and not ours(each, observation, definition.id):",
        "        if each.name == name and not ours(each, observation, definition.id):",
        f"{HEALTH}::test_a_table_with_the_name_of_the_view_is_not_touched",
    ),
    Mutant(
        "no brake",
        INSTANCES,
        "    if len(gone) <= policy.retired_max and len(gone) <= policy.retired_share_max * len(active):",
        "    if gone is not None:",
        f"{RUNS}::test_the_brake_refuses_a_mass_drop_until_it_is_approved",
    ),
    # -- when
    Mutant(
        "superseded tables go at once",
        INSTANCES,
        "    expired = age >= timedelta(seconds=policy.retired_grace_s)",
        "    expired = age >= timedelta(0)",
        f"{STORIES}::test_a_superseded_table_stays_for_the_queries_that_still_read_it",
    ),
    Mutant(
        "a blocked aggregate stays in service",
        INSTANCES,
        "    if definition.blocked:\n        words",
        "    if definition.blocked and view is None:\n        words",
        f"{CUTS}[retire-dies]",
    ),
    Mutant(
        "a missing table is called healthy",
        INSTANCES,
        '    if thing is None:\n        return Reason.INSTANCE_MISSING, f"table {name} is gone"\n    if not _own_table',
        "    if thing is not None and not _own_table",
        f"{HEALTH}::test_a_dropped_table_is_found_taken_off_the_view_and_built_again",
    ),
    Mutant(
        "a missing view is not made again",
        PLAN,
        "    return decision, [ViewStep(definition, instance)]",
        "    return decision, []",
        f"{HEALTH}::test_a_missing_view_is_made_again_and_a_replaced_one_is_not_touched",
    ),
)
"""A killer may be one case of a test: `file::test[case]`."""
