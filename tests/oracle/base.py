"""The host's tables: how they are written, and the list of all states that they were in, which is the truth.

`sales` and `shops` change as they like. `events` only grows: ids rise in the order of the commits. Of `accounts` each row
that is put gets a stamp that is not below any earlier one; rows never vanish, they are `gone`. `break_a_promise` does what
neither may.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import astuple, evolve

from .model import Account, Event, Sale, State
from .tap import Tap

COLUMNS = {
    "sales": "id INTEGER, day DATE, sold_at TIMESTAMP, shop VARCHAR, amount DECIMAL(12,2), qty INTEGER, weight DOUBLE",
    "shops": "shop VARCHAR, region VARCHAR",
    "events": "id INTEGER, day DATE, shop VARCHAR, amount DECIMAL(12,2), qty INTEGER",
    "accounts": "id INTEGER, day DATE, shop VARCHAR, amount DECIMAL(12,2), qty INTEGER, gone BOOLEAN, touched TIMESTAMP",
}
FIRST_STAMP = datetime(2024, 5, 1)


class Base:
    """The tables, past our code. `base` is the name that the sales have now."""

    tap: Tap

    def __init__(self) -> None:
        self.base = "sales"
        self.states = [State()]
        self.stamp = 0

    @property
    def state(self) -> State:
        return self.states[-1]

    def execute(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """As the host or a stranger would."""
        cursor = self.tap.connection.cursor()
        try:
            return (cursor.execute(sql, parameters) if parameters is not None else cursor.execute(sql)).fetchall()
        finally:
            cursor.close()

    def create_tables(self) -> None:
        for table, columns in COLUMNS.items():
            self.execute(f"CREATE TABLE {table} ({columns})")

    def change(
        self,
        sales: Mapping[int, Sale | None] | None = None,
        shops: Sequence[tuple[str, str | None]] | None = None,
        *,
        events: Sequence[Event] = (),
        accounts: Sequence[Account] = (),
        coarse: bool = False,
    ) -> None:
        """One transaction of the host: put these sales (None: delete), and these shops in place of all.

        events    added; their ids are greater than all before.
        accounts  put, each with a new stamp; `coarse`: with the newest that there was.
        """
        sales, state = sales or {}, self.state
        gone = [each for each in sales if each in state.sales]
        put = [sale for sale in sales.values() if sale is not None]
        self.stamp += not coarse
        touched = [evolve(each, touched=FIRST_STAMP + timedelta(seconds=self.stamp)) for each in accounts]
        cursor = self.tap.connection.cursor()
        cursor.execute("BEGIN TRANSACTION")
        _delete(cursor, self.base, gone)
        _delete(cursor, "accounts", [each.id for each in touched])
        _insert(cursor, self.base, put)
        _insert(cursor, "events", events)
        _insert(cursor, "accounts", touched)
        if shops is not None:
            _replace_shops(cursor, shops)
        cursor.execute("COMMIT")
        cursor.close()
        kept = {key: sale for key, sale in state.sales.items() if key not in sales}
        self.states.append(
            State(
                {**kept, **{each.id: each for each in put}},
                state.shops if shops is None else tuple(shops),
                {**state.events, **{each.id: each for each in events}},
                {**state.accounts, **{each.id: each for each in touched}},
            )
        )

    def break_a_promise(self, table: str, put: Event | Account | None, gone: int | None = None) -> None:
        """Change a row without a trace in the declared column, or let one vanish."""
        rows: dict[int, Any] = dict(getattr(self.state, table))
        cursor = self.tap.connection.cursor()
        cursor.execute("BEGIN TRANSACTION")
        lost = gone if put is None else put.id
        if lost is not None:
            _delete(cursor, table, [lost])
            del rows[lost]
        if put is not None:
            _insert(cursor, table, [put])
            rows[put.id] = put
        cursor.execute("COMMIT")
        cursor.close()
        changed: dict[str, Any] = {table: rows}
        self.states.append(evolve(self.state, **changed))

    def write_all(self, sales: Sequence[Sale] | None = None) -> None:
        """All base rows anew; the sales in this order."""
        state = self.state
        cursor = self.tap.connection.cursor()
        cursor.execute("BEGIN TRANSACTION")
        for table, rows in (
            (self.base, list(state.sales.values()) if sales is None else sales),
            ("events", list(state.events.values())),
            ("accounts", list(state.accounts.values())),
        ):
            cursor.execute(f"DELETE FROM {table}")
            _insert(cursor, table, rows)
        _replace_shops(cursor, state.shops)
        cursor.execute("COMMIT")
        cursor.close()

    def permute(self, sales: Sequence[Sale]) -> None:
        """The same rows in another order: nothing has changed."""
        assert sorted(sales, key=lambda each: each.id) == sorted(self.state.sales.values(), key=lambda each: each.id)
        self.write_all(sales)


def _delete(cursor: Any, table: str, ids: Iterable[int]) -> None:
    listed = ", ".join(map(str, ids))
    if listed:
        cursor.execute(f"DELETE FROM {table} WHERE id IN ({listed})")


def _insert(cursor: Any, table: str, rows: Sequence[Any]) -> None:
    if rows:
        kind = "sales" if isinstance(rows[0], Sale) else table
        names = ", ".join(column.split()[0] for column in COLUMNS[kind].split(", "))
        marks = f"({', '.join('?' * len(astuple(rows[0])))})"
        values = [value for row in rows for value in astuple(row)]
        cursor.execute(f"INSERT INTO {table} ({names}) VALUES {', '.join([marks] * len(rows))}", values)


def _replace_shops(cursor: Any, shops: Sequence[tuple[str, str | None]]) -> None:
    cursor.execute("DELETE FROM shops")
    for pair in shops:
        cursor.execute("INSERT INTO shops VALUES (?, ?)", pair)
