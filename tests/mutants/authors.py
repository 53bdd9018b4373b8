"""Bugs to plant in what authors of warehouses are given: the books, the reading, dialects, factories, answers kept."""

from .mutant import Mutant

BOOKS = "aggmaint/warehouses/bookkeeping.py"
READING = "aggmaint/warehouses/reading.py"
SQLITE = "tests/warehouses/test_suites.py::TestSQLiteWarehouse::test_"
MEMORY = "tests/warehouses/test_suites.py::TestMemoryWarehouse::test_"

AUTHORS_MUTANTS = (
    Mutant(
        "books: a claim overlooks what was written since",
        BOOKS,
        "if control is not None and seen is not None and not anyway and control.touch != seen.touch:",
        "if False:",
        MEMORY + "claim_is_refused_when_something_was_written_since",
    ),
    Mutant(
        "books: an equal fence claims",
        BOOKS,
        "(control.generation, control.fence) >= (fence.generation, fence.number)",
        "(control.generation, control.fence) > (fence.generation, fence.number)",
        SQLITE + "claim_needs_a_greater_fence",
    ),
    Mutant(
        "books: the guard does not ask whether the claim is open",
        BOOKS,
        "(control.generation, control.fence, control.open) != (fence.generation, fence.number, True)",
        "(control.generation, control.fence) < (0, 0)",
        SQLITE + "a_zombie_refreshes_nothing",
    ),
    Mutant(
        "books: a write is not noted",
        BOOKS,
        "self.control = evolve(control, touch=control.touch + 1, build=build_id)",
        "self.control = evolve(control, build=build_id)",
        MEMORY + "claim_is_refused_when_something_was_written_since",
    ),
    Mutant(
        "books: a refresh of an outdated plan is taken",
        BOOKS,
        "(found.status, found.build_id) != (InstanceStatus.ACTIVE, instance.build_id)",
        "found.status != InstanceStatus.ACTIVE",
        SQLITE + "publish_of_an_outdated_plan_is_refused",
    ),
    Mutant(
        "books: two first switches serve",
        BOOKS,
        "if serving != ([] if old is None else [(old.id, old.build_id)]):",
        "if old is not None and serving != [(old.id, old.build_id)]:",
        SQLITE + "two_first_builds_do_not_both_serve",
    ),
    Mutant(
        "books: whatever has the view's name is replaced",
        BOOKS,
        "if there is not None and not self._is_ours(there, definition.id):",
        "if there is not None and there.kind is ObjectKind.OTHER:",
        SQLITE + "a_view_of_others_is_not_replaced",
    ),
    Mutant(
        "books: a table is dropped by its name",
        BOOKS,
        "self._hands.drop(self._own(kind, name, instance))",
        "self._hands.drop(SchemaObject(name, kind))",
        SQLITE + "a_table_of_others_is_not_dropped",
    ),
    Mutant(
        "books: what was superseded goes on being in service",
        BOOKS,
        'self._move(old.id, InstanceStatus.INVALID, at, reason="superseded", partitions=(), source_tokens=())',
        "pass",
        SQLITE + "switch_supersedes_without_a_gap",
    ),
    Mutant(
        "books: replaced periods keep their rows in the ledger",
        BOOKS,
        "kept = [each for each in found.partitions if each.period not in publication.replaced]",
        "kept = list(found.partitions)",
        SQLITE + "refresh_replaces_its_periods_only",
    ),
    Mutant(
        "books: another installation's schema is ours",
        BOOKS,
        "if control.installation not in (schema.installation, schema.adopt_from):",
        "if not control.installation:",
        SQLITE + "another_installation_or_organisation_is_refused",
    ),
    Mutant(
        "reading: one that breaks off stops all",
        READING,
        "        except WarehouseQueryError:\n            answers: Answers = {}\n",
        "        except WarehouseQueryError:\n            raise\n            answers: Answers = {}\n",
        SQLITE + "observe_isolates_what_is_sick",
    ),
    Mutant(
        "reading: the sick are asked again",
        READING,
        "bound = {each.id: self.bind(each) for each in definitions if each.id not in sick}",
        "sick, bound = {}, {each.id: self.bind(each) for each in definitions}",
        SQLITE + "observe_does_not_ask_the_sick_again",
    ),
    Mutant(
        "reading: tokens are read after the table is made",
        READING,
        "            tokens = self._period_tokens(definition, bound, answers)\n            make()\n",
        "            make()\n            tokens = self._period_tokens(definition, bound, self.tokens([definition], "
        "{definition.id: bound}, tick)[0])\n            make = make\n",
        "tests/warehouses/test_sqlite.py::test_tokens_are_read_before_the_data",
    ),
    Mutant(
        "reading: a build is not checked at the gate",
        READING,
        "require_gate(self.statements.run, Computed(definition, table, bound.columns), self.dialect)",
        "pass",
        "tests/warehouses/test_sqlite.py::test_what_a_build_lost_does_not_pass_the_gate",
    ),
    Mutant(
        "reading: a stage is not checked at the gate",
        READING,
        "require_gate(self.statements.run, Computed(definition, handle, columns, request.periods), self.dialect)",
        "pass",
        "tests/warehouses/test_sqlite.py::test_what_a_stage_lost_does_not_pass_the_gate",
    ),
    Mutant(
        "scans: without grouping sets every cut is taken for the first",
        "aggmaint/aggregates/scans.py",
        'shown = [f"0, {text}" if index == one else "1, NULL" for index, text in texts.items()]',
        'shown = [f"0, {text}" for index, text in texts.items()]',
        "tests/warehouses/test_sqlite.py::test_one_scan_answers_several_granularities",
    ),
    Mutant(
        "dialects: one name is one dialect",
        "aggmaint/aggregates/dialects.py",
        "return isinstance(other, DialectName) and type(self.dialect) is type(other.dialect)",
        "return str(self) == str(other)",
        "tests/config/test_answers.py::test_two_dialects_of_one_name_are_two",
    ),
    Mutant(
        "answers: another code's are believed",
        "aggmaint/_config_answers.py",
        'if kept["code"] == _code():',
        'if kept["code"]:',
        "tests/config/test_answers.py::test_what_other_code_answered_is_not_believed",
    ),
    Mutant(
        "answers: those of another dialect are given",
        "aggmaint/aggregates/remembered.py",
        'engine = type(dialect.dialect).__qualname__ if isinstance(dialect, DialectName) else ""',
        'engine = ""',
        "tests/config/test_answers.py::test_an_answer_is_of_its_dialect_and_its_function",
    ),
    Mutant(
        "factory: expressions are read in DuckDB's dialect",
        "aggmaint/config.py",
        "dialect = factory_of(factory)(org_id).capabilities.dialect",
        "factory_of(factory)",
        "tests/config/test_factory.py::test_a_mistake_is_told_when_the_file_is_read",
    ),
)
