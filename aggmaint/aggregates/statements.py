"""What a step writes, as SQL for people: the statements that matter, in their order, without the ledger's own rows.

Parameters stay parameters (`$org`). The name of a table that is still to be built is drawn by the run, so it is written as
`as_agg_…`. What a run executes may be divided differently (a refresh is computed aside first); its effect is this.
"""

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
from .sql import rows_of_periods_sql, select_sql, view_sql


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
        case RefreshStep(definition, instance, partitions):
            if not partitions:
                return ()
            table = name(instance.table_name)
            periods = [each.period for each in partitions]
            wanted = [each.period for each in partitions if each.token is not None]
            deletes = (f"DELETE FROM {table} WHERE {rows_of_periods_sql(periods, definition.partition, dialect)}",)
            return (*deletes, f"INSERT INTO {table} {select_sql(definition, dialect, wanted)}") if wanted else deletes
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
