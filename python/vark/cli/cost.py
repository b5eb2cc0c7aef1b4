"""`vark cost`: what a repository will cost in storage, requests and egress."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import click

from vark.cli import options
from vark.cli.output import Output, as_record
from vark.cli.retention import policy_of, policy_options
from vark.cli.sections import Command
from vark.errors import InvalidArgumentError
from vark.types import text_table
from vark.units import format_bytes


@click.command(cls=Command, short_help="Estimate what storage and requests will cost.")
@options.repository
@click.option(
    "--prices",
    "-p",
    type=click.Path(dir_okay=False),
    envvar="VARK_PRICES",
    help="A TOML file of price tables that you write; default: VARK_PRICES.",
)
@click.option("--table", "tables", multiple=True, help="Only this table of the file (may be repeated).")
@click.option("--months", type=click.IntRange(1, 120), default=12, show_default=True, help="Of 30 days, from today.")
@click.option("--every", metavar="SPAN", help="How often each name is backed up, e.g. 1d.  [default: as until now]")
@click.option("--trash", default="7d", show_default=True, help="As in `vark gc`, which is taken to run each day.")
@policy_options
@options.as_json
def cost(repo: str | None, as_json: bool, **given: Any) -> int:
    """Estimate what the repository will cost: storage as it grows under retention rules, requests, one full restore.

    Without rules all snapshots are kept. Nothing is known of prices but what the file says: one table or more, such as

    \b
    [standard]
    currency = "EUR"
    storage = 0.02        # a GB and month; unit = "GiB" for GiB
    put = 0.005           # for 1,000; also list, get, delete
    download = 0.05       # a GB out; also upload, retrieval
    minimum_days = 30     # what is deleted earlier is charged so long

    \b
    vark cost -r s3://bucket/prefix --prices prices.toml --keep-daily 7 --keep-weekly 5
    """
    from vark.prices import read_prices

    output = Output(as_json=as_json)
    if given["prices"] is None:
        raise InvalidArgumentError("--prices: no price table; give a TOML file, or set VARK_PRICES (see --help)")
    tables = read_prices(given["prices"])
    unknown = sorted(set(given["tables"]) - {table.name for table in tables})
    if unknown:
        known = ", ".join(table.name for table in tables)
        raise InvalidArgumentError(f"--table {unknown[0]!r}: not in {given['prices']}, which has {known}")
    chosen = [table for table in tables if not given["tables"] or table.name in given["tables"]]
    ruled = any(value not in (None, ()) for name, value in given.items() if name.startswith("keep_"))
    if not ruled:
        options.refuse_given(("before", "after", "group_by", "time_zone"), "belongs to rules such as --keep-daily 7")
    policy = policy_of(given) if ruled else None
    repository = options.open_repository(repo, rescue=True)
    how = {name: given[name] for name in ("months", "every", "trash")}
    report = repository.cost(chosen, policy=policy, **how)
    if as_json:
        for table in report.tables:
            output.line("item", **{**as_record(table), "total": table.total})
        output.line("summary", command="cost", stored_bytes=report.stored_bytes, names=list(report.names), **how)
        return 0
    output.data("\n".join(_lines(report, kept="by the rules given" if ruled else "all")))
    return 0


def _lines(report: Any, *, kept: str) -> list[str]:
    names = [
        (
            item.name,
            f"{item.snapshots_a_day:.2f}",
            format_bytes(item.full_bytes),
            "" if item.delta_bytes is None else format_bytes(item.delta_bytes),
            format_bytes(item.growth_bytes),
            item.note,
        )
        for item in report.names
    ]
    lines = [
        f"{format_bytes(report.stored_bytes)} stored today; kept: {kept}. An estimate, out of what was done lately:"
    ]
    lines.append(text_table(("name", "a day", "full", "delta", "growth a day", ""), names))
    for table in report.tables:
        prices = table.prices
        rows = [
            (
                str(month.number),
                format_bytes(month.stored_bytes),
                *(_money(amount) for amount in (month.storage, month.early, month.requests, month.upload, month.total)),
            )
            for month in table.months
        ]
        head = ("month", "stored", "storage", "deleted early", "requests", "upload", "total")
        lines += ["", f"[{prices.name}], in {prices.currency}:", text_table(head, rows)]
        lines.append(
            f"{len(table.months)} months: {_money(table.total)}; what is there today: {_money(table.now)} a month; "
            f"one full restore of the newest: {_money(table.restore.price)} "
            f"({format_bytes(table.restore.byte_count)} at most)"
        )
    return lines


def _money(amount: Decimal) -> str:
    return f"{amount:.2f}" if not amount or amount >= Decimal("0.01") else f"{amount:.6f}"
