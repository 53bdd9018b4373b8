"""`verify` and `certificate`: proof that aggregates equal their sources. They open the warehouse, and only read."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from attrs import asdict

from ..aggregates.certificates import Certificate, check_certificate
from ..config import load_config
from ..maintenance import Verification, VerifyMode, VerifyOptions
from . import show
from .exits import Exit
from .hosting import the_org
from .operating import read_json
from .options import config_option, json_option
from .patience import patiently
from .planning import write_json


@click.command()
@click.argument("names", nargs=-1, metavar="[ORG] [AGGREGATE]")
@config_option
@json_option
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in VerifyMode]),
    help="Everything (full), the named partitions, or a sample. Default: full, or partition where some are named.",
)
@click.option("--partition", "partitions", multiple=True, help="A partition to verify, e.g. 2024-03; may be repeated.")
@click.option("--budget-s", type=click.FloatRange(0, min_open=True), help="Stop after so many seconds.")
@click.option("--rows-max", type=click.IntRange(1), help="Begin no further partition after so many rows.")
@click.option("--samples", default=5, show_default=True, type=click.IntRange(0, 1000), help="Differing rows to show.")
def verify(  # noqa: PLR0913 - click gives each option its parameter
    names: tuple[str, ...],
    config_path: str,
    as_json: bool,
    mode: str | None,
    partitions: tuple[str, ...],
    budget_s: float | None,
    rows_max: int | None,
    samples: int,
) -> None:
    """Recompute AGGREGATE (or all) of ORG from its sources, and compare. Exit code 1 if anything differs."""
    config = load_config(config_path)
    org_id, aggregate = _named(config.organizations, names)
    org_id = the_org(config, org_id)
    options = VerifyOptions(
        mode=mode or (VerifyMode.PARTITION if partitions else VerifyMode.FULL),
        partitions=partitions,
        samples_max=samples,
        budget_s=budget_s,
        rows_max=rows_max,
    )
    task = config.task()
    found = patiently(lambda: task.verify(org_id, aggregate, options=options, now=datetime.now(UTC)))
    if as_json:
        show.document({"organization_id": org_id, "verified": [_to_json(each) for each in found]})
    else:
        _show(org_id, found)
    if not all(each.equal for each in found):
        raise SystemExit(Exit.STEP_FAILED)


def _named(organizations: Sequence[str], names: tuple[str, ...]) -> tuple[str | None, str | None]:
    """ORG and AGGREGATE; of one word alone, an organisation's name is that."""
    if len(names) > 2:
        raise click.UsageError("give ORG and AGGREGATE; put a name with spaces in quotes")
    if len(names) == 2:
        return names[0], names[1]
    if not names or names[0] in organizations:
        return (names[0] if names else None), None
    return None, names[0]


def _to_json(each: Verification) -> dict[str, Any]:
    told = asdict(each)
    samples = [{**asdict(sample), "kind": sample.kind.value} for sample in each.samples]
    for sample in samples:
        sample.update({name: sample[name] and dict(sample[name]) for name in ("key", "expected", "found")})
    return {**told, "mode": each.mode.value, "samples": samples, "equal": each.equal, "complete": each.complete}


def _show(org_id: str, found: Sequence[Verification]) -> None:
    equal = sum(each.equal and each.complete for each in found)
    show.title(f"{org_id}: {equal} of {len(found)} aggregates equal their sources{_scope(found)}")
    rows = [
        (
            each.aggregate,
            "problem" if not each.equal else "ok" if each.complete else "partly",
            each.rows_expected,
            each.missing,
            each.extra,
            each.wrong,
            each.problem or _reach(each),
        )
        for each in found
    ]
    show.table(("aggregate", "status", "rows", "missing", "extra", "wrong", "compared"), rows)
    for each in found:
        for sample in each.samples:
            key = ", ".join(f"{name}={value}" for name, value in sample.key) or "the only row"
            words = f"expected {_cells(sample.expected)}, found {_cells(sample.found)}"
            show.say(f"{each.aggregate}: {sample.kind} {key}: {words}")


def _scope(found: Sequence[Verification]) -> str:
    if all(each.compared is None and each.complete for each in found):
        return ""
    return ", as far as they were compared"


def _reach(each: Verification) -> str:
    done = "all" if each.compared is None else show.partitions(each.compared)
    return done if not each.left else f"{done}; over budget: {show.partitions(each.left)}"


def _cells(cells: Sequence[tuple[str, str | None]] | None) -> str:
    return "no row" if cells is None else ", ".join(f"{name}={value}" for name, value in cells)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="[ORG] AGGREGATE")
@config_option
@json_option
@click.option("--out", type=click.Path(dir_okay=False), help="Write the certificate to this file.")
@click.option("--check", "kept", type=click.Path(dir_okay=False), help="Check a certificate that was kept.")
def certificate(names: tuple[str, ...], config_path: str, as_json: bool, out: str | None, kept: str | None) -> None:
    """Certify how fresh AGGREGATE is, partition by partition, or check an older certificate (exit code 1: void)."""
    if len(names) > 2:
        raise click.UsageError("give ORG and AGGREGATE; put a name with spaces in quotes")
    before = None if kept is None else Certificate.from_json(read_json(kept))
    config = load_config(config_path)
    org_id = the_org(config, names[0] if len(names) == 2 else None)
    task = config.task()
    made = patiently(lambda: task.certificate(org_id, names[-1], now=datetime.now(UTC)))
    if out is not None:
        write_json(out, made.to_json())
    if before is not None:
        _show_check(before, made, as_json=as_json)
    elif as_json:
        show.document(made.to_json())
    else:
        _show_certificate(made.to_json())


def _show_certificate(made: Mapping[str, Any]) -> None:
    state = "fresh" if made["fresh"] else "not fresh"
    show.title(f"{made['aggregate']} of {made['organization_id']} at {show.instant(made['made_at'])}: {state}")
    rows = [
        (
            each["key"],
            each["rows"],
            show.instant(each["published_at"]),
            show.instant(each["verified_at"]),
            each["reason"],
        )
        for each in made["partitions"]
    ]
    show.table(("partition", "rows", "published", "verified", "why"), rows)
    show.say(f"digest {made['digest']}")


def _show_check(before: Certificate, now: Certificate, *, as_json: bool) -> None:
    check = check_certificate(before, now)
    if as_json:
        partitions = {key: change.value for key, change in check.partitions}
        show.document(
            {
                "holds": check.holds,
                "definition_changed": check.definition_changed,
                "table_replaced": check.table_replaced,
                "partitions": partitions,
            }
        )
    else:
        show.title(f"the certificate of {show.instant(before.made_at)} {'holds' if check.holds else 'does not hold'}")
        show.table(("partition", "since then"), [(key, change.value) for key, change in check.partitions])
    if not check.holds:
        raise SystemExit(Exit.STEP_FAILED)
