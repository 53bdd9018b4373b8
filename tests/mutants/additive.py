"""Bugs to plant in the additive path: what is new, what adds up, whose mark it is, what is published and when it pays."""

from .mutant import Mutant

TESTS = "tests/maintenance/test_additive.py::"
RULES = "tests/aggregates/test_additive.py::"
KIT = "tests/warehouses/test_merging.py::test_a_sound_warehouse_passes_every_check"
RULE = "aggmaint/aggregates/additive.py"
MERGING = "aggmaint/aggregates/merging.py"
MERGE = "aggmaint/warehouses/_duckdb_merge.py"
WRITER = "aggmaint/warehouses/_duckdb_writer.py"
GROWN = "aggmaint/warehouses/_duckdb_grown.py"
PLAN = "aggmaint/aggregates/_plan_partitions.py"

ADDITIVE_MUTANTS = (
    Mutant(
        "additive: rows at the mark are new",
        RULE,
        'condition = f"{column} > {mark}"',
        'condition = f"{column} >= {mark}"',
        TESTS + "test_new_rows_are_merged_into_every_sort_of_aggregate",
    ),
    Mutant(
        "additive: ties with the mark are overlooked",
        "aggmaint/aggregates/declared.py",
        'WHERE {name} = {mark} OR {name} IS NULL"',
        'WHERE {name} IS NULL"',
        TESTS + "test_new_rows_are_merged_into_every_sort_of_aggregate",
    ),
    Mutant(
        "additive: rows without a mark are overlooked",
        "aggmaint/aggregates/declared.py",
        'WHERE {name} = {mark} OR {name} IS NULL"',
        'WHERE {name} = {mark}"',
        TESTS + "test_a_row_without_a_mark_is_not_taken_for_an_old_one",
    ),
    Mutant(
        "additive: late rows are not counted",
        RULE,
        "rows=there.rows - added, mark=beyond.mark)",
        "rows=token_rows(beyond.token), mark=beyond.mark)",
        TESTS + "test_a_late_commit_below_the_mark_is_seen_at_once_by_the_number_of_rows",
    ),
    Mutant(
        "additive: it is merged without the promise",
        RULE,
        "    if not definition.source.marks_commit_in_order:\n        return Hindered",
        "    if definition.source.append_only is None:\n        return Hindered",
        RULES + "test_anything_else_hinders_and_says_what",
    ),
    Mutant(
        "additive: distinct counts are merged",
        "aggmaint/aggregates/measures.py",
        "    MeasureFunction.COUNT_DISTINCT,\n    MeasureFunction.APPROX_COUNT_DISTINCT,  #",
        "    MeasureFunction.APPROX_COUNT_DISTINCT,  #",
        TESTS + "test_what_hinders_a_merge_is_told_and_all_is_right",
    ),
    Mutant(
        "additive: sketches are merged",
        "aggmaint/aggregates/measures.py",
        "    MeasureFunction.COUNT_DISTINCT,\n    MeasureFunction.APPROX_COUNT_DISTINCT,  #",
        "    MeasureFunction.COUNT_DISTINCT,  #",
        TESTS + "test_what_hinders_a_merge_is_told_and_all_is_right",
    ),
    Mutant(
        "additive: another source's change is overlooked",
        RULE,
        "if before.get(key) != now.get(key))",
        "if key not in now)",
        TESTS + "test_what_hinders_a_merge_is_told_and_all_is_right",
    ),
    Mutant(
        "additive: a mark over everything is overlooked",
        RULE,
        "    return marked_periods(definition, hints.marks_on(definition.source)) is not None",
        "    return True",
        RULES + "test_anything_else_hinders_and_says_what",
    ),
    Mutant(
        "additive: tokens are not summed",
        RULE,
        "    return published if token_kind(added) is TokenKind.CONTENT else together",
        "    return published",
        "tests/aggregates/test_plan.py::test_new_rows_are_added_to_the_published_token_merged_or_not",
    ),
    Mutant(
        "additive: hashes are not summed",
        "aggmaint/aggregates/tokens.py",
        "{int(hashes, 16) + sign * int(more_hashes, 16):x}",
        "{int(hashes, 16) ^ int(more_hashes, 16):x}",
        RULES + "test_tokens_add_up_and_can_be_taken_apart",
    ),
    Mutant(
        "additive: a period that is ahead of the mark is merged again",
        RULE,
        "    return record.mark == mark",
        "    return True",
        TESTS + "test_a_split_refresh_counts_no_row_twice",
    ),
    Mutant(
        "additive: a split refresh takes the others' marks back",
        WRITER,
        "if publication.definition.source.marks_commit_in_order and source_moved(instance, publication.source_tokens):",
        "if publication.definition.source.marks_commit_in_order:",
        TESTS + "test_a_split_refresh_counts_no_row_twice",
    ),
    Mutant(
        "additive: partitions that are not written keep their mark",
        WRITER,
        "            self._ledger.note_mark(instance.id, noted, but_for=written)\n",
        "            del noted\n",
        TESTS + "test_many_runs_of_merging_stay_right",
    ),
    Mutant(
        "additive: the mark is written in another transaction",
        WRITER,
        "            self._ledger.note_mark(instance.id, noted, but_for=written)\n",
        "            self._connection.commit()\n            self._connection.begin()\n"
        "            self._ledger.note_mark(instance.id, noted, but_for=written)\n",
        KIT,
    ),
    Mutant(
        "additive: a merge is published whatever was published since",
        "aggmaint/warehouses/_duckdb_ledger.py",
        "\"WHERE id = $id AND status = 'active' AND build_id = $before\",",
        "\"WHERE id = $id AND status = 'active' AND $before IS NOT NULL\",",
        KIT,
    ),
    Mutant(
        "additive: NULL is no key",
        MERGING,
        'f"t.{key} IS NOT DISTINCT FROM s.{key}"',
        'f"t.{key} = s.{key}"',
        TESTS + "test_new_rows_are_merged_into_every_sort_of_aggregate",
    ),
    Mutant(
        "additive: rows of no period are not looked for",
        MERGING,
        "    if NULL_PERIOD in periods:\n",
        "    if not starts:\n",
        TESTS + "test_new_rows_are_merged_into_every_sort_of_aggregate",
    ),
    Mutant(
        "additive: the old rows stay beside the merged ones",
        WRITER,
        "taken_out = self.merger.take_out(publication) if publication.merged else 0",
        "taken_out = sum(each.rows for each in instance.partitions) if publication.merged else 0",
        KIT,
    ),
    Mutant(
        "additive: nobody counts what was taken out",
        WRITER,
        "                self.merger.require_count(publication, taken_out, put_in)\n",
        "                del taken_out, put_in\n",
        TESTS + "test_a_table_that_somebody_changed_between_stage_and_publish_is_not_written",
    ),
    Mutant(
        "additive: a merge passes no gate",
        MERGE,
        "        if words is not None:\n            raise",
        "        if words == '':\n            raise",
        TESTS + "test_a_merge_that_does_not_pass_the_gate_is_computed_anew_and_is_a_finding",
    ),
    Mutant(
        "additive: a merge that fails condemns the aggregate",
        "aggmaint/_maintenance_run.py",
        "failed = self._unmerged if isinstance(problem, MergeError) else self._sick",
        "failed = self._sick",
        TESTS + "test_a_merge_that_does_not_pass_the_gate_is_computed_anew_and_is_a_finding",
    ),
    Mutant(
        "additive: the content that is noted keeps the old rows",
        MERGE,
        "            if each.period in old:\n",
        "            if not published:\n",
        TESTS + "test_new_rows_are_merged_into_every_sort_of_aggregate",
    ),
    Mutant(
        "additive: the content is read from the table, whatever it held",
        MERGE,
        "            if each.period in published:\n                token = add_tokens(published[each.period], token)\n"
        "            if each.period in old:\n                token = add_tokens(token, old[each.period], taken_out=True)\n",
        "            stored = {e.period: e.content for e in self.observer.contents_of(definition, tables.table)}\n"
        "            if each.period in published:\n                token = add_tokens(stored[each.period], token)\n"
        "            if each.period in old:\n                token = add_tokens(token, old[each.period], taken_out=True)\n",
        TESTS + "test_hidden_damage_is_not_washed_clean_by_a_merge",
    ),
    Mutant(
        "additive: a merge counts as a look at the partition",
        "aggmaint/_maintenance_publications.py",
        "computed_at = before.last_computed_at if planned.new is not None and before is not None else None",
        "computed_at = None",
        TESTS + "test_a_merge_is_no_look_at_the_partition",
    ),
    Mutant(
        "additive: what grows is never audited",
        GROWN,
        "looked = looks(audit_due(instance, hints), ahead(",
        "looked = looks((), ahead(",
        TESTS + "test_what_a_false_promise_hides_from_a_merge_the_audit_finds_and_repairs",
    ),
    Mutant(
        "additive: what grew is not compared with what it must be",
        PLAN,
        '    return compare_tokens(grown_token(record.token, case.added), case.token or "") is Comparison.SAME',
        "    return True",
        "tests/aggregates/test_plan.py::test_a_period_that_grew_is_compared_with_what_it_must_be_when_it_is_looked_at",
    ),
    Mutant(
        "additive: damaged periods are merged",
        PLAN,
        "_MERGEABLE = frozenset({Reason.PARTITION_MERGED, Reason.PARTITION_NEW})",
        "_MERGEABLE = frozenset({Reason.PARTITION_MERGED, Reason.PARTITION_NEW, Reason.PARTITION_DAMAGED})",
        TESTS + "test_damaged_periods_are_computed_whole_the_others_merged",
    ),
    Mutant(
        "additive: what can not be merged is merged all the same",
        PLAN,
        "        or facts.hindered is not None\n",
        "",
        TESTS + "test_where_a_measure_can_not_be_merged_the_new_rows_still_tell_what_to_compute",
    ),
    Mutant(
        "additive: a slice is counted without the published rows",
        GROWN,
        "(each, published.get(each, 0) + token_rows(token))",
        "(each, token_rows(token))",
        TESTS + "test_many_new_rows_are_computed_from_a_slice_that_holds_exactly_what_was_counted",
    ),
    Mutant(
        "additive: small partitions are merged",
        RULE,
        "return rows_min == 0 or (computing >= rows_min and merging <= computing)",
        "return rows_min == 0 or merging <= computing",
        RULES + "test_merging_pays_where_much_is_published_and_little_is_new",
    ),
    Mutant(
        "additive: many new rows are merged",
        RULE,
        "return rows_min == 0 or (computing >= rows_min and merging <= computing)",
        "return rows_min == 0 or computing >= rows_min",
        RULES + "test_merging_pays_where_much_is_published_and_little_is_new",
    ),
    Mutant(
        "additive: a partition that was asked for is merged",
        "aggmaint/aggregates/shaping.py",
        "_anew(each) if each.period.key in keys else each for each in planned.partitions}",
        "each for each in planned.partitions}",
        TESTS + "test_who_asks_for_a_partition_gets_it_computed",
    ),
    Mutant(
        "additive: the content of joined rows is not taken for their token",
        "aggmaint/_maintenance_publications.py",
        "    if token_kind(token) is TokenKind.CONTENT:\n",
        "    if not token:\n",
        TESTS + "test_new_rows_are_merged_into_every_sort_of_aggregate",
    ),
)
