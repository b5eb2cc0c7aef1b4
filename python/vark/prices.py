"""Price tables: what a provider charges, as its user wrote it down, and the arithmetic of bills, in decimals."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from os import PathLike
from pathlib import Path
from typing import Any

from vark.errors import InvalidArgumentError, NotFoundError, error_from_os

MONTH_DAYS = 30
UNITS = {"GB": 10**9, "GiB": 1 << 30}
FILE_BYTES_MAX = 1 << 20
_PRICE_MAX = Decimal(10) ** 9
_NONE = Decimal("nan")


@dataclass(frozen=True, slots=True)
class Requests:
    """How often what is asked for. puts, lists, gets, deletes: numbers of requests; heads count as gets."""

    puts: int = 0
    lists: int = 0
    gets: int = 0
    deletes: int = 0

    def __add__(self, other: Requests) -> Requests:
        return Requests(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))

    def __mul__(self, times: int) -> Requests:
        return Requests(*(getattr(self, item.name) * times for item in fields(self)))


@dataclass(frozen=True, slots=True)
class Prices:
    """One table. Amounts are of `currency`; storage of a unit for a month of 30 days; requests by the thousand.

    unit: "GB" (10^9 bytes) or "GiB". minimum_days: what is deleted earlier is charged up to then. retrieval: of a unit
    that is read, beside download, which is egress.
    """

    name: str
    currency: str
    storage: Decimal
    unit: str = "GB"
    put: Decimal = Decimal(0)
    list: Decimal = Decimal(0)
    get: Decimal = Decimal(0)
    delete: Decimal = Decimal(0)
    upload: Decimal = Decimal(0)
    download: Decimal = Decimal(0)
    retrieval: Decimal = Decimal(0)
    minimum_days: int = 0

    def of_storage(self, byte_days: Decimal | int) -> Decimal:
        """Return the price of so many bytes times days."""
        return Decimal(byte_days) * self.storage / (UNITS[self.unit] * MONTH_DAYS)

    def of_requests(self, requests: Requests) -> Decimal:
        """Return the price of requests."""
        total = requests.puts * self.put + requests.lists * self.list
        return (total + requests.gets * self.get + requests.deletes * self.delete) / 1000

    def of_upload(self, byte_count: int) -> Decimal:
        """Return the price of sending bytes."""
        return byte_count * self.upload / UNITS[self.unit]

    def of_download(self, byte_count: int) -> Decimal:
        """Return the price of reading bytes and taking them out."""
        return byte_count * (self.download + self.retrieval) / UNITS[self.unit]

    def unused_days(self, kept_days: Decimal) -> Decimal:
        """Return for how many days more is charged what was deleted after so many."""
        return max(Decimal(self.minimum_days) - kept_days, Decimal(0))


def read_prices(path: str | PathLike[str]) -> tuple[Prices, ...]:
    """Read a TOML file with one table or more: `[NAME]`, then the fields of `Prices`. Errors: InvalidArgumentError."""
    place = Path(path)
    try:
        with open(place, "rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise NotFoundError(f"{place}: no such file; a price table is a TOML file that you write") from None
    except OSError as error:
        raise error_from_os(error, str(place)) from error
    if len(data) > FILE_BYTES_MAX:
        raise InvalidArgumentError(f"{place}: more than {FILE_BYTES_MAX} bytes, which no price table has")
    try:
        tables = tomllib.loads(data.decode("utf-8"), parse_float=_decimal)
    except (ValueError, RecursionError) as error:  # also of numbers with thousands of digits
        raise InvalidArgumentError(f"{place}: no TOML: {error}") from None
    if not tables:
        raise InvalidArgumentError(f"{place}: no prices; expected a table such as [standard] with storage = 0.02")
    return tuple(_table(name, table, f"{place}: [{name}]") for name, table in tables.items())


def _table(name: str, table: Any, place: str) -> Prices:
    if not isinstance(table, Mapping):
        raise InvalidArgumentError(f"{place}: not a table; prices stand below a name such as [standard]")
    known = {item.name for item in fields(Prices)} - {"name"}
    unknown = sorted(set(table) - known)
    if unknown:
        raise InvalidArgumentError(f"{place}: {unknown[0]!r} is no price; expected some of {', '.join(sorted(known))}")
    for needed in ("currency", "storage"):
        if needed not in table:
            raise InvalidArgumentError(f"{place}: {needed} is missing")
    values = {key: _value(key, value, place) for key, value in table.items()}
    return Prices(name=name, **values)


def _value(key: str, value: Any, place: str) -> Any:
    if key == "currency":
        if not isinstance(value, str) or not 1 <= len(value) <= 16 or not value.isprintable():
            raise InvalidArgumentError(f"{place}: currency {value!r}; expected a short text such as EUR")
        return value
    if key == "unit":
        if not isinstance(value, str) or value not in UNITS:
            raise InvalidArgumentError(f"{place}: unit {value!r}; expected {' or '.join(UNITS)}")
        return value
    if key == "minimum_days":
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 3650:
            raise InvalidArgumentError(f"{place}: minimum_days {value!r}; expected a number of days, at most 3650")
        return value
    number = _decimal(value) if isinstance(value, (int, str, Decimal)) and not isinstance(value, bool) else _NONE
    if not number.is_finite() or not 0 <= number <= _PRICE_MAX:
        raise InvalidArgumentError(f"{place}: {key} {str(value)[:40]!r}; expected a price, 0 or more")
    return number


def _decimal(value: int | str | Decimal) -> Decimal:
    try:
        return Decimal(value)
    except InvalidOperation:  # no number, or an exponent beyond all reason
        return _NONE
