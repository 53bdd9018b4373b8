"""The kit's pages say what the code says."""

from pathlib import Path

from aggmaint.testing import JobStoreSuite, SchedulerSuite, WarehouseSuite
from aggmaint.testing.certificate import MACHINE_NAME, MACHINE_PROMISE
from aggmaint.testing.suite import check_names, promise_of

ROOT = Path(__file__).parents[2]
PARTS = {
    "DocumentChecks": "prepare, load, close",
    "CommitChecks": "commit",
    "HistoryChecks": "get_job, list_jobs, pruning",
    "DueChecks": "list_organizations, find_due",
    "SharingChecks": "Threads, handles, processes",
    "FenceChecks": "Optional abilities",
    "ReadingChecks": "capabilities, open, observe, stage, compare, interrupt",
    "ClaimChecks": "claim, guard, close",
    "PublishChecks": "build, publish",
    "ModellingChecks": "Definitions, changes meanwhile, ledgers (what a warehouse refuses by name does not apply)",
    "FaultChecks": "All or nothing (needs a bench that watches the warehouse's statements)",
    "MergingChecks": "Merging new rows (of warehouses that claim `merges`)",
}

INTRODUCTION = """# Conformance

`aggmaint.testing` proves that a store, a scheduler or a warehouse keeps what its port promises. A store conforms if no check
below fails: `python -m aggmaint.testing certify module:factory` ([how to write a store](../how-to/write-a-store.md)); a
warehouse with `certify --warehouse`
([how to write a warehouse](../how-to/write-a-warehouse.md)). Names such as `I10` are the
invariants of the job half. Checks of several handles and processes need a factory that takes a location; the
others run for any.

This page is printed from the docstrings of the checks (`python -m tests.testing.test_docs > docs/reference/conformance.md`).
Adding a check, or making one stricter, raises the kit's number (`KIT_VERSION`) and has an entry in the changelog.
"""


def rows(suite: type, names: list[str]) -> list[str]:
    return [
        "| check | what is promised |",
        "|---|---|",
        *(f"| `{name.removeprefix('test_')}` | {promise_of(suite, name)} |" for name in names),
    ]


def conformance_page() -> str:
    """The page as it must be; to print it anew: python -m tests.testing.test_docs > docs/reference/conformance.md"""
    lines = [INTRODUCTION, "## JobStore"]
    for part in JobStoreSuite.__bases__:
        lines += ["", f"### {PARTS[part.__name__]}", "", *rows(JobStoreSuite, check_names(part))]
    lines += ["", "### Agreement with the memory model", "", "| check | what is promised |", "|---|---|"]
    lines += [f"| `{MACHINE_NAME}` | {MACHINE_PROMISE} |", "", "## Scheduler", ""]
    lines += [*rows(SchedulerSuite, check_names(SchedulerSuite)), "", "## Warehouse"]
    for part in WarehouseSuite.__bases__:
        lines += ["", f"### {PARTS[part.__name__]}", "", *rows(WarehouseSuite, check_names(part))]
    return "\n".join(lines) + "\n"


def test_every_check_is_documented_as_its_docstring_has_it() -> None:
    found = (ROOT / "docs/reference/conformance.md").read_text(encoding="utf-8")
    assert found == conformance_page(), conformance_page.__doc__


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def test_the_code_of_the_how_to_is_the_store_that_is_certified() -> None:
    page = (ROOT / "docs/how-to/write-a-store.md").read_text(encoding="utf-8")
    blocks = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    store = (ROOT / "tests/examples/json_directory_store.py").read_text(encoding="utf-8")
    assert lines_of("".join(blocks)) == lines_of(store)
    assert len(store.splitlines()) < 250, "an afternoon's work"


PAGE_FILES = ("dialect", "connection", "schema_file", "session", "warehouse", "bench")


def test_the_code_of_the_how_to_is_the_warehouse_that_is_certified() -> None:
    page = (ROOT / "docs/how-to/write-a-warehouse.md").read_text(encoding="utf-8")
    blocks = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    files = [ROOT / f"tests/examples/sqlite_warehouse/{name}.py" for name in PAGE_FILES]
    assert [lines_of(block) for block in blocks] == [lines_of(each.read_text(encoding="utf-8")) for each in files]
    assert {each.stem for each in files} | {"__init__"} == {each.stem for each in files[0].parent.glob("*.py")}
    assert sum(len(each.read_text(encoding="utf-8").splitlines()) for each in files) < 700, "a few days' work"


def test_the_example_of_the_memory_warehouse_runs() -> None:
    page = (ROOT / "docs/reference/memory-warehouse.md").read_text(encoding="utf-8")
    (block,) = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    exec(compile(block, "memory-warehouse.md", "exec"), {})


if __name__ == "__main__":
    import sys

    sys.stdout.write(conformance_page())
