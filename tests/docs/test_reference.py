"""The reference pages that list a table say what the table says."""

from pathlib import Path

from aggmaint.aggregates.answers import ANSWERS
from aggmaint.aggregates.findings import AUTOMATIC, REPAIRS
from aggmaint.aggregates.reasons import MEANINGS, Weight

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def reasons_page() -> str:
    """The page as it must be; to print it anew: python -m tests.docs.test_reference > docs/reference/reasons.md"""
    lines = [
        "# Reasons",
        "",
        "Every candidate of a run (definition, partition, instance, view, foreign object) gets exactly one decision, and",
        "each decision one of these reasons. The codes are stable. `fine`: nothing to do · `work`: something is done ·",
        "`finding`: worth telling · `problem`: what should be done can not be, so the report is not complete (exit code 1).",
        "",
        "| reason | weight | meaning |",
        "|---|---|---|",
    ]
    rows = [
        f"| `{reason.value}` | {meaning.weight.value} | {meaning.sentence} |" for reason, meaning in MEANINGS.items()
    ]
    findings = [
        "",
        "## Findings and their repairs",
        "",
        "Decisions of weight `finding` and `problem`, and steps that failed, are the findings of a job's report. What mends",
        "one follows from its code; what is automatic is done by runs, the rest needs a person.",
        "",
        "| finding | repair | automatic |",
        "|---|---|---|",
        *(
            f"| `{code}` | {repair.value} | {'yes' if repair in AUTOMATIC else 'no'} |"
            for code, repair in REPAIRS.items()
        ),
        "",
        "## Answers of `why-not` that are no reasons",
        "",
        "| code | meaning |",
        "|---|---|",
        *(f"| `{code.value}` | {meaning} |" for code, meaning in ANSWERS.items()),
    ]
    return "\n".join([*lines, *rows, *findings]) + "\n"


def test_every_reason_is_documented_as_the_table_has_it() -> None:
    assert (REFERENCE / "reasons.md").read_text(encoding="utf-8") == reasons_page(), reasons_page.__doc__


def test_every_weight_is_used() -> None:
    assert {meaning.weight for meaning in MEANINGS.values()} == set(Weight)


if __name__ == "__main__":
    import sys

    sys.stdout.write(reasons_page())
