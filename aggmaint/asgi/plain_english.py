"""A time expression in plain English, for people: the command line and the dashboard say it alike."""

from collections.abc import Iterator, Sequence

from ..core.cron import CronExpression
from ..errors import MissingExtraError


def plain_english(expression: CronExpression) -> str | None:
    """What the expression says, by cron-descriptor; None for what it can not say, or would say wrongly."""
    try:
        from cron_descriptor import FormatError, MissingFieldError, Options, get_description  # type: ignore[import-untyped]
    except ImportError as missing:
        raise MissingExtraError("cron-descriptor", "dashboard") from missing
    fields = expression.spelled.split()
    quartz = len(fields) > 5
    fields = fields if quartz else ["0", *fields]
    if any("," in field and ("#" in field or "L" in field) for field in (fields[3], fields[5])):
        return None
    options = Options()
    options.use_24hour_time_format = True
    options.day_of_week_start_index_zero = not quartz
    try:
        said: str = get_description(" ".join(_sayable(expression, fields, quartz=quartz)), options)
    except (FormatError, MissingFieldError, ValueError, IndexError):
        return None
    return said


def _sayable(expression: CronExpression, fields: Sequence[str], *, quartz: bool) -> Iterator[str]:
    """The fields, with each step that is not the same all the way round written out: `*/45` is no "every 45 minutes"."""
    second, minute, hour, day, month, week, *year = fields
    for field, numbers, size in (
        (second, expression.seconds, 60),
        (minute, expression.minutes, 60),
        (hour, expression.hours, 24),
    ):
        step = field.partition("/")[2]
        even = step and size % int(step) == 0 and len(numbers) == size // int(step)
        yield field if not step or even else ",".join(map(str, numbers))
    days, months, _ = expression.days[0].split()
    yield days if "/" in day else day
    yield months if "/" in month else month
    yield "7" if quartz and week == "L" else week
    yield from year
