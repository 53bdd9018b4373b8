"""`aggmaint schedule …` through real processes."""

from datetime import UTC, datetime, timedelta

import pytest

from aggmaint.asgi.plain_english import plain_english
from aggmaint.cli.scheduling import _shown, open_desk
from aggmaint.core.cron import parse_cron
from aggmaint.core.ids import ScheduleId
from aggmaint.core.schedule import Schedule

from .conftest import CONFIGURATION, Place
from .test_errors import assert_one_paragraph


def listed(place: Place, org: str = "acme") -> list[dict[str, object]]:
    found: list[dict[str, object]] = place.run("schedule", "list", org, "--json").json["schedules"]
    return found


def test_a_new_organisation_is_registered_with_the_default(place: Place) -> None:
    result = place.run("schedule", "list", "acme", "--json")
    assert result.code == 0, result.err
    (schedule,) = result.json["schedules"]
    assert result.json["organization_id"] == "acme"
    assert (schedule["time_expression"], schedule["zone"], schedule["active"]) == ("0 0 4 ? * * *", "UTC", True)
    assert schedule["reading"] == "At 04:00"
    starts = [datetime.fromisoformat(start) for start in schedule["next"]]
    assert len(starts) == 5
    assert starts[0] > datetime.now(UTC) - timedelta(minutes=5)
    assert all(start.hour == 4 and start.utcoffset() == timedelta() for start in starts)
    assert not (place.path / "warehouse.duckdb").exists(), "the warehouse is never opened"
    assert listed(place) == [schedule], "and once only"


def test_add_shows_five_starts_in_both_clocks_and_says_it_in_english(place: Place) -> None:
    result = place.run("schedule", "add", "acme", "0 30 22 ? * FRIL", "--zone", "Asia/Kathmandu")
    assert result.code == 0, result.err
    assert "added: schedule" in result.out
    assert "At 22:30, on the last Friday of the month" in result.out
    assert result.out.count("22:30:00 +05:45") == 5
    assert result.out.count("16:45:00 UTC") == 5
    table = place.run("schedule", "list", "acme").out
    assert "0 30 22 ? * FRIL" in table and "Asia/Kathmandu" in table and "last Friday" in table


def test_both_dialects_and_names_are_taken_and_day_numbers_are_read_as_each_means_them(place: Place) -> None:
    for expression, day in (("0 0 4 ? * 2", "Monday"), ("0 4 * * 2", "Tuesday"), ("@weekly", "Sunday")):
        added = place.run("schedule", "add", "acme", expression, "--json").json["schedule"]
        assert day in added["reading"]
        assert {datetime.fromisoformat(start).strftime("%A") for start in added["next"]} == {day}


def test_deactivate_activate_remove_by_the_beginning_of_the_id(place: Place) -> None:
    schedule_id = place.run("schedule", "add", "acme", "0 6 * * *", "--json").json["schedule"]["id"]
    short = schedule_id[:13]
    off = place.run("schedule", "deactivate", "acme", short, "--json").json
    assert (off["done"], off["schedule"]["active"], off["schedule"]["next"]) == ("inactive", False, [])
    assert place.run("schedule", "deactivate", "acme", short).code == 0, "asked twice, done once"
    assert "inactive: starts nothing" in place.run("schedule", "next", "acme", short).out
    assert "inactive" in place.run("schedule", "list", "acme").out
    on = place.run("schedule", "activate", "acme", short, "--json").json
    assert (on["schedule"]["active"], len(on["schedule"]["next"])) == (True, 5)
    assert "removed" in place.run("schedule", "remove", "acme", short).out
    assert [each["time_expression"] for each in listed(place)] == ["0 0 4 ? * * *"]
    assert_one_paragraph(place.run("schedule", "remove", "acme", short), 2, short, "is unknown")


def test_next_shows_instants_in_any_zone(place: Place) -> None:
    (schedule,) = place.run("schedule", "next", "acme", "--zone", "Asia/Tokyo", "--count", "7", "--json").json[
        "schedules"
    ]
    assert len(schedule["next"]) == 7
    assert all(start.endswith("T13:00:00+09:00") for start in schedule["next"])
    assert schedule["zone"] == "UTC"
    assert place.run("schedule", "next", "acme", "--zone", "Asia/Tokyo").out.count("13:00:00 +09:00") == 5


def test_an_expression_is_tried_without_a_store(place: Place) -> None:
    arguments = ("schedule", "next", "acme", "--expression", "30 2 * * *", "--zone", "Europe/Berlin", "--count", "400")
    shown = place.run(*arguments, "--json").json
    (gap,) = {start for start in shown["next"] if "T03:00:00+02:00" in start}
    assert datetime.fromisoformat(gap).month == 3, (
        "once in a year 02:30 does not exist, and the first instant after it is"
    )
    assert len({start[:10] for start in shown["next"]}) == 400, "and on no day it fires twice"
    assert shown["reading"] == "At 02:30"
    assert not (place.path / "aggmaint.db").exists()


def test_an_h_can_not_be_tried_because_its_numbers_come_with_the_id(place: Place) -> None:
    result = place.run("schedule", "next", "acme", "--expression", "H H * * *")
    assert_one_paragraph(result, 2, "'H' takes its numbers from the schedule's id", "aggmaint schedule next acme")


def test_an_h_is_shown_with_the_numbers_of_its_schedule(place: Place) -> None:
    desk = open_desk(str(place.path / "aggmaint.toml"), "acme")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    kept = Schedule(ScheduleId("4f1c"), "H H * * *", created_by_user="admin", created_at=now)
    shown = _shown(desk, kept, None, 2, now)
    assert [start.isoformat() for start in shown.starts] == ["2026-01-01T22:46:00+00:00", "2026-01-02T22:46:00+00:00"]
    assert shown.row()[-1] == "At 22:46"


def test_a_spread_is_told(place: Place) -> None:
    desk = open_desk(str(place.path / "aggmaint.toml"), "acme")
    added = desk.engine.add_schedule("acme", "0 4 * * *", spread_s=600)
    assert "each starts within 600 s after this" in place.run("schedule", "next", "acme", added.id).out
    assert [each["spread_s"] for each in listed(place)] == [0, 600]


def test_what_is_piped_is_plain(place: Place) -> None:
    for arguments in (("list", "acme"), ("next", "acme"), ("add", "acme", "0 4 * * *")):
        plain = place.run("schedule", *arguments, FORCE_COLOR="")
        assert "\x1b" not in plain.out + plain.err
        assert plain.code == 0, plain.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", "acme", "0 0 30 2 *"), ("no date matches",)),
        (("add", "acme", "0 0 4 LW * ?"), ("'LW'", "use 'L' or a number")),
        (("add", "acme", "@reboot"), ("@reboot", "never starts a job")),
        (("add", "acme", "0 4 * *"), ("4 fields", "six or seven", "five")),
        (("add", "acme", "0 4 * * *", "--zone", "Mars/Olympus"), ("Mars/Olympus", "IANA")),
        (("add", "initech", "0 4 * * *"), ("initech", "known: acme")),
        (("list", "initech"), ("initech", "known: acme")),
        (("next", "acme", "--expression", "H(9-5) * * * *"), ("runs backwards",)),
        (("next", "acme", "--expression", "0 0 4 ? * * 2020"), ("no date left",)),
        (("next", "acme", "1f0c", "--expression", "@daily"), ("either SCHEDULE or --expression",)),
        (("next", "initech", "--expression", "@daily"), ("initech",)),
        (("list", "acme", "--config", "nowhere.toml"), ("nowhere.toml",)),
    ],
)
def test_errors_are_one_paragraph_and_leave_nothing(
    place: Place, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert_one_paragraph(place.run("schedule", *arguments), 2, *words)
    assert sorted(path.name for path in place.path.iterdir()) == ["aggmaint.toml", "orders.parquet"]


def test_unknown_and_ambiguous_ids_are_told_with_the_known_ones(place: Place) -> None:
    (default,) = listed(place)
    for command in ("remove", "activate", "deactivate", "next"):
        assert_one_paragraph(place.run("schedule", command, "acme", "zzz"), 2, "'zzz'", "unknown", str(default["id"]))
    desk = open_desk(str(place.path / "aggmaint.toml"), "acme")
    for _ in range(17):  # so that two of them begin alike
        desk.engine.add_schedule("acme", "0 4 * * *")
    ids = [str(each["id"]) for each in listed(place)]
    twice = next(letter for letter in "0123456789abcdef" if sum(each.startswith(letter) for each in ids) > 1)
    assert_one_paragraph(place.run("schedule", "remove", "acme", twice), 2, "begins several ids")
    assert len(listed(place)) == 18


def test_a_hostile_organisation_id_is_one_like_any_other(place: Place) -> None:
    org = "it's; DROP TABLE x/../é"
    place.write_config(CONFIGURATION.replace('ids = ["acme"]', f'ids = ["acme", "{org}"]'))
    assert place.run("schedule", "add", org, "0 5 * * *").code == 0
    assert len(listed(place, org)) == 2
    assert len(listed(place)) == 1


@pytest.mark.parametrize("arguments", [("schedule", "fly"), ("schedule", "add", "acme"), ("schedule", "list")])
def test_wrong_usage_exits_with_2(place: Place, arguments: tuple[str, ...]) -> None:
    assert place.run(*arguments).code == 2


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("*/45 * * * *", "At 0 and 45 minutes past the hour"),
        ("*/15 2 * * *", "Every 15 minutes, between 02:00 and 02:59"),
        ("0 */5 * * *", "At 00:00, 05:00, 10:00, 15:00 and 20:00"),
        ("0 4 */10 * *", "At 04:00, on day 1, 11, 21, and 31 of the month"),
        ("0 0 4 1 1/5 ?", "At 04:00, on day 1 of the month, only in January, June, and November"),
        ("0 0 4 ? * L", "At 04:00, only on Saturday"),
        ("0 0 4 ? * 1", "At 04:00, only on Sunday"),
        ("0 4 * * 1", "At 04:00, only on Monday"),
        ("0 0 4 ? * 6#3", "At 04:00, on the third Friday of the month"),
        ("@daily", "At 00:00"),
        ("0 0 4 ? * 2#1,2#3", None),
        ("0 0 4 15,L * ?", None),
    ],
)
def test_the_reading_in_english_is_right_or_none(expression: str, says: str | None) -> None:
    assert plain_english(parse_cron(expression)) == says
