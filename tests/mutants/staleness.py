"""Bugs to plant in the tiers of staleness: declarations, marks, the audit, engine tokens, and what sessions remember."""

from .mutant import Mutant

TIERS = "tests/maintenance/test_tiers.py::"
SLICED = "tests/maintenance/test_slices.py::"

STALENESS_MUTANTS = (
    Mutant(
        "staleness: a tie with the mark is overlooked",
        "aggmaint/aggregates/declared.py",
        'f"WHERE {name} >= CAST(',
        'f"WHERE {name} > CAST(',
        TIERS + "test_a_row_with_the_very_same_updated_at_as_the_newest_is_found",
    ),
    Mutant(
        "staleness: the tail is counted, not hashed",
        "aggmaint/aggregates/declared.py",
        "{tail.rows}:{tail.tail_hashes:x}:",
        "{tail.rows}:0:",
        TIERS + "test_a_row_with_the_very_same_updated_at_as_the_newest_is_found",
    ),
    Mutant(
        "staleness: rows without updated_at are not looked at",
        "aggmaint/aggregates/declared.py",
        'f"WHERE {name} >= CAST(${MARK_PARAMETER} AS {kind}) OR {name} IS NULL"',
        'f"WHERE {name} >= CAST(${MARK_PARAMETER} AS {kind})"',
        TIERS + "test_a_row_without_updated_at_is_never_overlooked",
    ),
    Mutant(
        "staleness: months that only lost rows are not touched",
        "aggmaint/aggregates/declared.py",
        "if tail or before.get(period) != count}",
        "if tail}",
        TIERS + "test_changed_rows_and_rows_that_moved_to_another_month_are_found_by_updated_at",
    ),
    Mutant(
        "staleness: a broken promise is believed",
        "aggmaint/aggregates/declared.py",
        "    gone = sum(before.values()) - sum(now.values())\n",
        "    return None\n",
        TIERS + "test_rows_that_vanish_though_none_may_are_a_finding_and_everything_is_looked_at",
    ),
    Mutant(
        "staleness: a mark does not look behind a declaration",
        "aggmaint/warehouses/_duckdb_tokens.py",
        "marked = marked_periods(definition, marks) if vouch is not Vouch.WHOLE else frozenset[Period]()",
        "marked = frozenset[Period]()",
        TIERS + "test_a_mark_looks_where_the_declaration_would_not",
    ),
    Mutant(
        "staleness: a mark is cut to the very day",
        "aggmaint/aggregates/looking.py",
        "(ends_at.astimezone(zone) + timedelta(days=1)).date()",
        "ends_at.astimezone(zone).date()",
        "tests/aggregates/test_freshness.py::test_the_periods_of_a_range_are_a_day_wider_than_the_range",
    ),
    Mutant(
        "staleness: no audit",
        "aggmaint/aggregates/looking.py",
        "return frozenset(order[: max(0, turns, overdue)])",
        "return frozenset()",
        TIERS + "test_the_audit_finds_what_a_lying_declaration_hides_within_its_days",
    ),
    Mutant(
        "staleness: what was audited does not count",
        "aggmaint/aggregates/looking.py",
        " * len(order)) - younger",
        " * len(order))",
        "tests/aggregates/test_freshness.py::test_every_turn_of_the_audit_comes_once_in_its_days",
    ),
    Mutant(
        "staleness: an upgrade refreshes everything at once",
        "aggmaint/aggregates/_plan_partitions.py",
        "return self.left >= 0",
        "return True",
        "tests/maintenance/test_health.py::"
        "test_after_an_upgrade_a_run_refreshes_as_many_partitions_as_the_policy_allows",
    ),
    Mutant(
        "staleness: the sources' tokens are noted though partitions were left",
        "aggmaint/aggregates/plan.py",
        "tokens = instance.source_tokens if partitions.deferred else facts.source_tokens",
        "tokens = facts.source_tokens",
        "tests/maintenance/test_health.py::"
        "test_after_an_upgrade_a_run_refreshes_as_many_partitions_as_the_policy_allows",
    ),
    Mutant(
        "staleness: a large table's number of rows is not compared",
        "aggmaint/warehouses/_duckdb_observe.py",
        "audit_due(instance, hints) if rows == instance.rows else None",
        "audit_due(instance, hints)",
        TIERS + "test_a_large_table_is_compared_in_rotation_and_at_once_if_its_number_of_rows_is_wrong",
    ),
    Mutant(
        "staleness: a remembered value is used whatever its evidence",
        "aggmaint/warehouses/_duckdb_shared.py",
        "if known is not None and known[0] == evidence else None",
        "if known is not None else None",
        "tests/warehouses/test_duckdb_shared.py::test_a_ledger_that_somebody_changed_is_read_anew",
    ),
    Mutant(
        "staleness: a changed schema is read from the shared catalogue",
        "aggmaint/warehouses/_duckdb_shared.py",
        "        self._changed.add(schema)\n",
        "        pass\n",
        "tests/warehouses/test_duckdb_shared.py::test_a_schema_that_we_changed_is_read_anew",
    ),
    Mutant(
        "staleness: ranges of many periods decide alone",
        "aggmaint/aggregates/periods.py",
        'exact = partition.zone == "UTC" and len(found) <= RANGES_MAX',
        'exact = partition.zone == "UTC"',
        "tests/aggregates/test_periods.py::test_ranges_hold_all_periods_and_no_others_or_are_left_out",
    ),
    Mutant(
        "a schema that the shared catalogue does not list is taken for empty",
        "aggmaint/warehouses/_duckdb_shared.py",
        " and schema.startswith(SCHEMA_PREFIX):",
        ":",
        "tests/warehouses/test_duckdb_shared.py::test_a_schema_that_is_not_named_as_ours_are_is_always_read",
    ),
    Mutant(
        "slices: a copy is believed on its own word",
        "aggmaint/warehouses/_duckdb_slices.py",
        "            if rows == cut.rows:\n",
        "            if True:\n",
        SLICED + "test_a_copy_that_lacks_rows_is_not_used",
    ),
    Mutant(
        "slices: a copy serves all periods",
        "aggmaint/warehouses/_duckdb_slices.py",
        "self._tables[definition.id][1] >= set(periods)",
        "bool(periods)",
        SLICED + "test_a_copy_serves_the_periods_that_it_was_made_of_only",
    ),
    Mutant(
        "slices: parameters do not matter",
        "aggmaint/aggregates/slices.py",
        "(one.source.where is None or one.bound == other.bound)",
        "bool(other.id)",
        SLICED + "test_aggregates_that_filter_otherwise_do_not_share_a_copy",
    ),
    Mutant(
        "slices: copies pile up",
        "aggmaint/warehouses/_duckdb_session.py",
        "            self._observer.tokens.slices.drop()\n",
        "",
        SLICED + "test_all_aggregates_over_a_source_are_refreshed_from_one_copy_of_its_rows",
    ),
    Mutant(
        "slices: fingerprints are read from the source",
        "aggmaint/warehouses/_duckdb_tokens.py",
        "self.slices.request_over(_periods_request(self.bound[each.id]))",
        "_periods_request(self.bound[each.id])",
        SLICED + "test_a_declared_sources_copy_serves_its_fingerprints_too",
    ),
    Mutant(
        "slices: large parts are copied",
        "aggmaint/aggregates/slices.py",
        " and largest <= SHARE_MAX * rows_of_source",
        "",
        SLICED + "test_a_copy_pays_for_a_small_part_of_a_large_source",
    ),
    Mutant(
        "the ledger: a stranger's change is not seen",
        "aggmaint/warehouses/_duckdb_ledger.py",
        "return state, version, (state, version, *(found or ()))",
        "return state, version, (state, version)",
        "tests/warehouses/test_duckdb_shared.py::test_a_ledger_that_somebody_changed_is_read_anew",
    ),
)
