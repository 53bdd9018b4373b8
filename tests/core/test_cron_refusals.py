"""What is refused, each with its reason: text that no dialect knows, and text that is read differently here and there."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aggmaint.core.cron import check_wire_dialect, next_slot, parse_cron, parse_zone
from aggmaint.errors import InvalidCronError, InvalidValueError

REFUSED = {
    # the form
    "": "0 fields",
    "0 4 * *": "4 fields; give six or seven.*or five",
    "0 0 4 ? * * * *": "8 fields",
    "@Daily": "known are",
    "@every 5m": "known are @hourly",
    "@reboot": "a start of the program is no moment in time",
    "0 " * 200: "longer than 255",
    "ü 4 * * *": "character that no dialect knows",
    "0 ４ * * *": "character that no dialect knows",  # full-width
    "0 ٤ * * *": "character that no dialect knows",
    "0 4\u00a0* * *": "character that no dialect knows|4 fields",
    "0 4 * *\x0b*": "character that no dialect knows",
    "0 4 * * $(id)": "character",
    "0.5 0 4 ? * *": "shortest period is one second",
    "*/0.5 * * ? * *": "shortest period is one second",
    # the pair of days
    "0 0 4 1 * MON": "both given",
    "0 0 4 */1 * MON": "both given",
    "0 0 4 ? * ?": "not for both",
    "0 4 ? * ?": "not for both",
    "0 0 ? * * *": "hour '\\?': '\\?' is for day-of-month and day-of-week only",
    "0 ? * * *": "day-of-month and day-of-week only",
    "0 4 */2 * 1": "programs disagree whether both or either",
    "0 4 1 * */2": "programs disagree whether both or either",
    # no date
    "0 0 30 2 *": "no date matches",
    "0 0 0 31 4,6 ?": "no date matches",
    "0 0 0 29 2 ? 2027": "no date matches",
    # what the calendar underneath can not say, or says differently from release to release
    "0 0 4 LW * ?": "'LW': not supported.*; use 'L' or a number",
    "0 0 4 L-3 * ?": "'L-3': not supported.*; use 'L' or a number",
    "0 4 LW * *": "not supported",
    "0 4 L-3 * *": "not supported",
    "0 0 4 31W * ?": "not every month has that day",
    "0 0 4 0W * ?": "'W' stands alone after one day",
    "0 0 4 W * ?": "'W' stands alone",
    "0 0 4 1W,15W * ?": "'W' stands alone",
    "0 0 4 1-5W * ?": "'W' stands alone",
    "0 0 4 L,* * ?": "makes the rest meaningless",
    "59/5 * * * *": "never steps; write 59",
    "0 59/5 4 ? * *": "never steps; write 59",
    "0 23/2 * * *": "never steps; write 23",
    "0 0 31/2 * *": "never steps; write 31",
    "0 0 1 12/2 *": "never steps; write 12",
    "0 0 1 DEC/2 *": "never steps; write DEC",
    "0 0 * * 6/2": "never steps; write 6",
    "0 0 * * 7/2": "never steps; write 7",
    "0 0 4 ? * 7/2": "never steps; write 7",
    "0 0 4 ? * SAT/2": "never steps; write SAT",
    "0 0 4 ? * * 2099/2": "never steps; write 2099",
    "*,5 * * * *": "makes the rest meaningless",
    "5,* * * * *": "makes the rest meaningless",
    "0 0 4 ? * *,2": "makes the rest meaningless",
    "5-5 * * * *": "range of one value; write 5",
    "0 0 * * MON-1": "range of one value; write MON",
    "5-5/2 * * * *": "range of one value",
    "50-10 * * * *": "runs backwards; write two ranges",
    "0 0 * * FRI-MON": "runs backwards",
    "0 0 * NOV-FEB *": "runs backwards",
    "0 0 * * 0-7": "names Sunday twice; write '\\*'",
    "*/0 * * * *": "the step must be 1 to 59",
    "*/ * * * *": "the step must be",
    "*/60 * * * *": "the step must be 1 to 59",
    "*/-5 * * * *": "the step must be",
    "0 */24 * * *": "the step must be 1 to 23",
    "R 4 * * *": "random",
    "r 4 * * *": "random",
    "R(1-5) 4 * * *": "random",
    "1,R 4 * * *": "random",
    # numbers and names
    "60 * * * *": "minute '60': not readable; 0 to 59 was expected",
    "0 24 * * *": "not readable; 0 to 23",
    "0 0 0 * *": "not readable; 1 to 31",
    "0 0 1 13 *": "not readable; 1 to 12 or JAN-DEC",
    "0 0 * * 8": "not readable; 0 to 7 or SUN-SAT",
    "0 4 * * FOO": "not readable",
    "0 4 * * MONDAY": "not readable",
    "0 -4 * * *": "not readable",
    "0 1-2-3 * * *": "not readable",
    "0 4,, * * *": "not readable",
    "0 0 0 ? * 0": "Quartz counts 1-7",
    "0 0 0 ? * 8": "Quartz counts 1-7",
    "0 0 0 ? * FOO": "Quartz counts 1-7",
    "0 0 0 ? * MON#": "give the week of the month",
    "0 0 0 ? * MON#6": "give the week of the month after '#', 1 to 5",
    "0 0 0 ? * MON#12": "give the week of the month",
    "0 0 0 ? * 8#1": "Quartz counts 1-7",
    "0 0 0 ? * MON,FRI#1": "do not mix with plain days",
    "0 0 0 ? * L,FRIL": "not readable; write FRI#3",
    "0 4 * * L": "programs disagree on it; write SAT",
    "0 4 * * L5": "not readable",
    "0 0 4 ? * * 1969": "not readable",
    "0 0 4 ? * * 2100": "not readable; 1970 to 2099",
    # H
    "H 4 * * *": "spreads by organisation and schedule, and none was given",
}


@pytest.mark.parametrize("expression", REFUSED)
def test_refused_with_the_reason(expression: str) -> None:
    with pytest.raises(InvalidCronError, match=REFUSED[expression]) as caught:
        parse_cron(expression)
    assert caught.value.http_status == 400


HASHES_REFUSED = {
    "0 0 4 ? * * H": "not for the year",
    "H(5-5) 4 * * *": "range of one value",
    "H(9-5) 4 * * *": "runs backwards",
    "H(0-99) 4 * * *": "not readable",
    "H(0-9)/20 4 * * *": "the step must be 1 to 10",
    "H/0 4 * * *": "the step must be 1 to 60",
    "H/x 4 * * *": "the step must be",
    "H5 4 * * *": "'H' is written|not readable",
    "H-5 4 * * *": "'H' is written H, H/15, H\\(0-29\\) or",
    "H() 4 * * *": "'H' is written",
    "0 4 * * H#2": "'H' is written",
    "0 4 HW * *": "'W' stands alone",
}


@pytest.mark.parametrize("expression", HASHES_REFUSED)
def test_refused_with_the_reason_also_with_a_key(expression: str) -> None:
    with pytest.raises(InvalidCronError, match=HASHES_REFUSED[expression]):
        parse_cron(expression, "acme/1")


def test_the_wire_takes_quartz_only() -> None:
    check_wire_dialect("0 0 4 ? * *")
    check_wire_dialect("0 0 4 ? * * *")
    for other in ("0 4 * * *", "@daily", ""):
        with pytest.raises(InvalidCronError, match="six or seven fields"):
            check_wire_dialect(other)


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "/etc/passwd", "../UTC", "UTC\0", "\ud800", "Europe", "a" * 300])
def test_unknown_zones_are_refused(zone: str) -> None:
    with pytest.raises(InvalidValueError, match="IANA"):
        parse_zone(zone)


ALPHABET = "0123456789*/,-?()LW#@HRMONFRIJAl \n"


@given(
    st.text(ALPHABET, max_size=24) | st.lists(st.text(ALPHABET[:-2], min_size=1, max_size=4), max_size=8).map(" ".join)
)
@example("0 0 0 ? * L/2")
@example("0 0 0 W * ?")
@example("0 0 0 32W * ?")
@example("H(H-3) 4 * * *")
@example("H(1,3),H(5-6) 4 * * *")
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    """Whatever croniter makes of it: never another exception, and what is taken gives slots that move on."""
    try:
        parse_cron(text, "k")
    except InvalidCronError as exc:
        assert len(str(exc)) > 20
        return
    after = 1_772_452_800  # 2026-03-02 12:00
    for _ in range(3):
        slot = next_slot(text, "Europe/Berlin", after, "k")
        if slot is None:
            return
        assert slot > after
        after = slot
