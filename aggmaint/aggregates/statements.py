"""What a step writes, as SQL for people: the statements that matter, in their order, without the ledger's own rows.

Parameters stay parameters (`$org`). The name of a table that is still to be built is drawn by the run, so it is written as
`as_agg_…`. What a run executes may be divided differently (a refresh is computed aside first); its effect is this.
"""

from .additive import newer
from .decisions import (
    AdoptStep,
    BuildStep,
    DisownStep,
    DropStep,
    ForgetStep,
    RecordStep,
    RedefineStep,
    RefreshStep,
    RetireStep,
    Step,
    ViewStep,
)
from .dialects import dialect_of
from .merging import MergeTables, merged_sql, old_sql, take_out_sql
from .sql import rows_of_periods_sql, select_sql, view_sql

MERGE_TABLES = ("aggmaint_new", "aggmaint_old", "aggmaint_merged")


def statements_of(step: Step, schema: str, dialect: str) -> tuple[str, ...]:
    engine = dialect_of(dialect)

    def name(thing: str) -> str:
        return f"{engine.quote(schema)}.{engine.quote(thing)}"

    match step:
        case BuildStep(definition):
            table = name("as_agg_…")
            return (
                f"CREATE TABLE {table} AS {select_sql(definition, dialect)}",
                f"CREATE OR REPLACE VIEW {name(definition.view_name)} AS {view_sql(definition, table, dialect)}",
            )
        case RefreshStep(_, instance):
            table = name(instance.table_name)
            return (*_computing(step, table, dialect), *_merging(step, table, dialect))
        case ViewStep(definition, instance) | AdoptStep(definition, instance) | RedefineStep(definition, instance):
            select = view_sql(definition, name(instance.table_name), dialect)
            return (f"CREATE OR REPLACE VIEW {name(definition.view_name)} AS {select}",)
        case RetireStep(instance, drop_view=True):
            return (f"DROP VIEW {name(instance.view_name)}",)
        case DropStep(instance, drop_table=True):
            return (f"DROP TABLE {name(instance.table_name)}",)
        case DisownStep(instance):
            return (
                f"COMMENT ON TABLE {name(instance.table_name)} IS NULL",
                f"COMMENT ON VIEW {name(instance.view_name)} IS NULL",
            )
        case RetireStep() | DropStep() | ForgetStep() | RecordStep():
            return ()


def _computing(step: RefreshStep, table: str, dialect: str) -> tuple[str, ...]:
    """Periods that are written whole, or removed."""
    periods, definition = [each.period for each in step.partitions if each.new is None], step.definition
    if not periods:
        return ()
    deletes = (f"DELETE FROM {table} WHERE {rows_of_periods_sql(periods, definition.partition, dialect)}",)
    if not step.computed:
        return deletes
    return (*deletes, f"INSERT INTO {table} {select_sql(definition, dialect, step.computed)}")


def _merging(step: RefreshStep, table: str, dialect: str) -> tuple[str, ...]:
    """Periods that new rows are merged into; the mark beyond which rows are new is written out."""
    new = next((each.new for each in step.partitions if each.new is not None), None)
    if new is None:
        return ()
    definition, periods, tables = step.definition, step.merged, MergeTables(table, *MERGE_TABLES)
    beyond = newer(definition, new.since, dialect)
    return (
        f"CREATE TEMP TABLE {tables.new} AS {select_sql(beyond, dialect, periods)}",
        f"CREATE TEMP TABLE {tables.old} AS {old_sql(definition, tables, periods, dialect)}",
        f"CREATE TEMP TABLE {tables.merged} AS {merged_sql(definition, tables, step.instance.columns, dialect)}",
        take_out_sql(definition, table, tables.merged, periods, dialect),
        f"INSERT INTO {table} SELECT * FROM {tables.merged}",
    )
