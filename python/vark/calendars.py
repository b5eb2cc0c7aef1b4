"""Calendar arithmetic of retention: buckets of a time zone, and spans such as 1y6m counted back from now."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from vark.errors import InvalidArgumentError

_SPAN = re.compile(r"(?:(\d{1,4})y)?(?:(\d{1,5})m)?(?:(\d{1,5})w)?(?:(\d{1,6})d)?(?:(\d{1,7})h)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time: years and months are those of the calendar, the rest is exact."""

    months: int
    time: timedelta

    def before(self, moment: datetime) -> datetime:
        """Return the moment so long before `moment`, which knows its zone; a 31st may become the last of its month."""
        months = moment.year * 12 + moment.month - 1 - self.months
        if months < 12:
            return datetime.min.replace(tzinfo=UTC)
        year, month = divmod(months, 12)
        day = min(moment.day, calendar.monthrange(year, month + 1)[1])
        earlier = moment.replace(year=year, month=month + 1, day=day)
        try:
            return earlier.astimezone(UTC) - self.time
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)


def parse_span(text: str, *, name: str) -> Span:
    """Return the span that `text` says: "48h", "30d", "2w", "6m" (months), "1y6m". Errors: InvalidArgumentError."""
    match = _SPAN.fullmatch(text) if isinstance(text, str) else None
    if match is None or not any(match.groups()):
        raise InvalidArgumentError(
            f"{name}: {text!r}; expected numbers of years, months, weeks, days, hours in this order: 1y6m, 2w, 30d, 48h"
        )
    years, months, weeks, days, hours = (int(group or 0) for group in match.groups())
    span = Span(years * 12 + months, timedelta(weeks=weeks, days=days, hours=hours))
    if span.months == 0 and not span.time:
        raise InvalidArgumentError(f"{name}: {text!r} is no time at all; leave it out")
    return span


def time_zone(name: str) -> tzinfo:
    """Return the zone of an IANA name; "UTC" needs no zone files. Errors: InvalidArgumentError."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, TypeError, ValueError, OSError) as error:
        raise InvalidArgumentError(
            f"time zone {name!r}: unknown; expected a name such as UTC or Europe/Berlin (without zones on the system, "
            "install the package tzdata)"
        ) from error


def _hour(moment: datetime) -> str:
    # The hour that a clock shows twice in autumn is two hours.
    return moment.strftime("%Y-%m-%d %Hh%z")


def _week(moment: datetime) -> str:
    year, week, _ = moment.isocalendar()
    return f"{year}-W{week:02}"


# Rule -> the bucket of a moment in the zone of the policy.
BUCKETS: dict[str, Callable[[datetime], str]] = {
    "hourly": _hour,
    "daily": lambda moment: moment.strftime("%Y-%m-%d"),
    "weekly": _week,
    "monthly": lambda moment: moment.strftime("%Y-%m"),
    "quarterly": lambda moment: f"{moment.year}-Q{(moment.month + 2) // 3}",
    "yearly": lambda moment: f"{moment.year}",
}
