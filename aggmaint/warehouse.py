"""The Warehouse port: where aggregates live.

Theory of operation
-------------------
A warehouse speaks of definitions, instances and periods, not of SQL. It decides nothing: it reports what it finds
(`observe`), and does what a plan says. Each organisation has a *managed schema* of its own with a ledger in it and one
control row `(installation, org, generation, fence, touch, open, build)`. Three rules make every write safe:

* **Claim.** Before its first write a job claims the schema with its fence; only a greater fence can. A claim made
  from an observation succeeds only if nothing was written since (`touch` is the one observed), so that reading first and
  claiming after is as good as the other way round, and a run with nothing to do writes nothing at all.
* **Guard.** Every later write is one transaction whose first statement proves, on the control row, that the claim still
  stands. Claim and guard write the same columns, so that of two at once one must fail.
* **Whole or not at all.** What a verb writes is committed together with the ledger rows that describe it. A crash leaves
  the old state or the new one, and at most a table that is in nobody's view and that its intent row names.

A session is used by one thread. `observe` fixes a snapshot, where the engine has them; `stage` reads from it; any other
verb ends it. Errors: WarehouseUnavailableError (also WarehouseBusyError) when the warehouse can not be reached, at any
verb; WarehouseQueryError when it refuses a statement; FenceLostError when the guard finds a newer claim, or that the
ledger is not as planned; ForeignSchemaError when the schema is another installation's or organisation's;
WarehouseInterruptedError when `interrupt` broke the verb off. After an error of a writing verb nothing of it is there.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from attrs import frozen

from .aggregates.decisions import AdoptStep, DisownStep, DropStep, ForgetStep, RecordStep, RedefineStep, RetireStep
from .aggregates.looking import Hints
from .aggregates.model import AggregateDefinition
from .aggregates.observation import Column, ControlState, InstanceRecord, Observation, PartitionContent
from .aggregates.periods import Period
from .core.job import Fence


@frozen
class Capabilities:
    """What an engine can do. Declared by the adapter, used by the maintenance, proved by the conformance kit.

    dialect        the SQL dialect of definitions: a name that `aggregates.dialects` knows, or a DialectName.
    engine         engine and major version, part of every token.
    snapshot_reads `stage` reads the very rows that `observe` read.
    interrupts     `interrupt` breaks off a statement that runs; otherwise the job stops when it has ended.
    source_tokens  the engine can name the state of (some) sources: a text that is another one whenever their rows may be
                   others, read in the same snapshot as the rows. Such sources are not scanned while it stays the same.
    exact_decimals sums of DECIMAL columns keep every digit. Without, the dialect's `float_types` name the type of such
                   sums, and they are compared with a tolerance.
    merges         `observe` tells where rows were only added to a source (`DefinitionFacts.grown`), and `stage` can merge
                   them into what is published. Without it such periods are computed anew.
    """

    dialect: str
    engine: str
    snapshot_reads: bool
    interrupts: bool = False
    source_tokens: bool = False
    exact_decimals: bool = False
    merges: bool = False


@frozen
class ManagedSchema:
    """Whose schema is opened: the installation and organisation that its control row must name.

    With `adopt_from` the schema of that other installation is accepted too: what its control row and tags name is
    taken for ours, and `claim` makes it so.
    """

    installation: str
    org_id: str
    name: str
    adopt_from: str | None = None


def fence_behind(schema: str, control: ControlState, fence: Fence) -> str:
    """The message for a job whose fence the schema has passed."""
    return (
        f"schema {schema} has seen fence {control.generation}.{control.fence}, this job holds "
        f"{fence.generation}.{fence.number}: a newer job runs, or the job store was restored from an older copy "
        f"(then raise its generation: aggmaint doctor --recover {control.org_id})"
    )


Tick = Callable[[str], None]
"""Called between statements with a word about what is next. It may raise to stop the work; the verb then leaves nothing."""


@frozen
class Merge:
    """Periods of an instance that new source rows are to be merged into: those whose mark is greater than `since`."""

    instance: InstanceRecord
    periods: tuple[Period, ...]
    since: str


@frozen
class StageRequest:
    """Periods of an aggregate to compute, aside; and others to merge new rows into, also aside.

    `ahead`: what will probably be asked next, from the same snapshot. A warehouse may read the source once for all of them.
    """

    definition: AggregateDefinition
    periods: tuple[Period, ...]
    ahead: "tuple[StageRequest, ...]" = ()
    merge: Merge | None = None


@frozen
class Staged:
    """Rows that were computed aside. `handle` is the warehouse's own name of them, valid in this session.

    Of a period that new rows are merged into it holds only the rows that change, as they will be; `contents` says of each
    period what all of it will be.
    """

    handle: str
    contents: tuple[PartitionContent, ...]


@frozen
class PartitionWrite:
    """A ledger row to be: what is published for one period, and the token of the source rows it was made from.

    `mark` and `computed_at`: see PartitionRecord.
    """

    period: Period
    rows: int
    token: str
    content: str
    mark: str | None = None
    computed_at: datetime | None = None


@frozen
class BuildRequest:
    """An instance to build: its id and the name of its table are drawn by the caller.

    `supersedes` and `before`: the instance in service, and the definition that it was built from, where that differs in
    measures only. A warehouse may then copy what is provably current from its table, and compute only the new measures;
    the result must be what computing all of it would give.

    pieces  an aggregate with more partitions than this may be built in several calls, so many partitions at a time (0: at
            once). Then the answer says how many are `left`, and the next call, for it alone, goes on.
    begun   the intent is in the ledger: go on with it, whatever was built of it before. Partitions are kept only as long as
            their source tokens hold; the call that leaves none has compared all, in its one snapshot.
    """

    definition: AggregateDefinition
    instance_id: str
    table_name: str
    supersedes: InstanceRecord | None = None
    before: AggregateDefinition | None = None
    pieces: int = 0
    begun: bool = False


@frozen
class Built:
    """An instance that was built, and is in no view yet.

    With `left` it is not whole: so many partitions are missing, `taken` were computed by this call, and the rest is empty.
    """

    request: BuildRequest
    rows: int
    columns: tuple[Column, ...]
    partitions: tuple[PartitionWrite, ...]
    source_tokens: tuple[tuple[str, str], ...]
    left: int = 0
    taken: int = 0


@frozen
class Refresh:
    """Replace periods of an active instance by staged rows. `staged` None: nothing is inserted, only removed or noted.

    Of the `merged` periods only the rows are replaced that have the grain of a staged row (NULLs are equal there). Where the
    source's marks commit in order, and `source_tokens` are others than the instance's, all partitions that are not written
    are current up to their mark, too.
    """

    definition: AggregateDefinition
    instance: InstanceRecord
    staged: Staged | None
    replaced: tuple[Period, ...]
    written: tuple[PartitionWrite, ...]
    source_tokens: tuple[tuple[str, str], ...]
    merged: tuple[Period, ...] = ()


@frozen
class Switch:
    """Put a built instance in service: its view, its ledger rows; what it supersedes becomes invalid."""

    built: Built
    supersedes: InstanceRecord | None


@frozen
class RestoreView:
    """Make the view of an active instance again."""

    definition: AggregateDefinition
    instance: InstanceRecord


@frozen
class Failed:
    """A build that did not come to its end: `cancelled` or failed, why, and for which instance."""

    instance_id: str
    cancelled: bool
    message: str


@frozen
class Failures:
    """Mark builds as failed or cancelled; what they left is dropped after the grace."""

    builds: tuple[Failed, ...]


Publication = (
    Refresh
    | Switch
    | RestoreView
    | RetireStep
    | DropStep
    | ForgetStep
    | Failures
    | AdoptStep
    | DisownStep
    | RecordStep
    | RedefineStep
)
"""One guarded transaction."""


class DifferenceKind(StrEnum):
    MISSING = "missing"
    EXTRA = "extra"
    WRONG = "wrong"


Cells = tuple[tuple[str, str | None], ...]
"""(column, value as the warehouse writes it as text; None is NULL) pairs."""


@frozen
class RowDifference:
    """One row that differs: its grain, and its measures as recomputed and as found; None where there is no such row."""

    kind: DifferenceKind
    key: Cells
    expected: Cells | None
    found: Cells | None


@frozen
class CompareRequest:
    """What to compare: all of an aggregate by its view, or (by its table) these periods, or all `others` but these.

    samples_max: up to so many differing rows of each kind are shown.
    """

    periods: tuple[Period, ...] | None = None
    others: bool = False
    samples_max: int = 0


@frozen
class Difference:
    """How far an aggregate, as its view shows it, is from a recomputation of its source.

    missing  rows of the recomputation that the view has not.
    extra    rows of the view that the recomputation has not, repeated rows included.
    wrong    rows of both whose measures differ.
    problem  why they could not be compared (no table in service, a query that broke off); None if they were.
    samples  some of the rows that differ, ordered by kind and key.
    """

    definition_id: str
    aggregate: str
    rows_expected: int
    rows_found: int
    missing: int
    extra: int
    wrong: int
    problem: str | None = None
    samples: tuple[RowDifference, ...] = ()

    @property
    def equal(self) -> bool:
        return self.problem is None and not (self.missing or self.extra or self.wrong)


class WarehouseSession(Protocol):
    """An open managed schema. One thread, one run; close it always."""

    def observe(
        self,
        definitions: Sequence[AggregateDefinition],
        *,
        reader: Fence | None = None,
        sick: Mapping[str, str],
        tick: Tick | None = None,
        hints: Hints | None = None,
    ) -> Observation:
        """Read the ledger, the schema's objects, active instances' tables and the sources' tokens. Writes nothing.

        `definitions` are sound and not blocked; those whose ids are in `sick` are not asked again, but get its text as
        their failure. A definition that can not be read gets a failure of its own; it stops no other. A session that
        holds a claim observes its own writes. `tables` has the columns of tables too that carry our tag, but that the
        ledger does not name, by the instance id of their tag.

        `hints` say what must be read whoever vouches for it, and what may be read in turns (`aggregates.looking`). A
        warehouse that always reads everything may ignore them.
        """

    def stage(self, requests: Sequence[StageRequest], *, tick: Tick | None = None) -> tuple[Staged, ...]:
        """Compute periods aside, from the snapshot of the last `observe`. All or none; idempotent.

        Raises WarehouseQueryError with `definition_id` of the aggregate whose query broke; the snapshot is then gone. It is
        a MergeError if only the merging failed, and computing the periods anew may do.
        """

    def claim(self, fence: Fence, *, seen: ControlState | None, anyway: bool = False) -> bool:
        """Make this job the schema's only writer; create schema and ledger if there is none.

        False if something was written since `seen` was observed: observe again. With `anyway`, claim whatever happened,
        and observe then. Raises FenceLostError if the schema has seen this fence or a greater one. In a schema opened with
        `adopt_from` the control row and all tags of that installation become ours in the same transaction.
        """

    def build(self, requests: Sequence[BuildRequest], *, at: datetime, tick: Tick | None = None) -> tuple[Built, ...]:
        """Build instances beside, from one snapshot with their tokens: intents first, then tables. Needs the claim.

        All or none: on an error no table is left, and the intents stay, to be marked by `Failures` or swept by a later
        job. Raises WarehouseQueryError with `definition_id` of the aggregate that broke.
        """

    def publish(self, publication: Publication, *, at: datetime, build_id: str) -> None:
        """Do one guarded transaction, all or nothing. Conflicts are retried, a bounded number of times. Needs the claim.

        Publishing twice raises FenceLostError, because the ledger is no longer as planned. Adopting proves the table first:
        its columns, its unique grain, and each period's content against a recomputation from the same snapshot. A period
        that differs gets a token that compares with none, so that the next run refreshes it. What does not fit at all
        raises WarehouseQueryError.
        """

    def compare(self, definition: AggregateDefinition, what: CompareRequest = CompareRequest()) -> Difference:
        """Recompute an aggregate, or a part of it, and compare it with what is there. Reads only, in one snapshot.

        What keeps this one from being compared is said in the answer, not raised.
        """

    def interrupt(self) -> None:
        """Break off the statement that runs now, or else the next one: its verb raises WarehouseInterruptedError.

        The one verb that other threads may call; it does not wait. The session can be used on. Without the capability
        `interrupts` it does nothing.
        """

    def close(self) -> None:
        """Give the claim back (open=false), if it is still ours, and the connection. Idempotent; never raises."""


class Warehouse(Protocol):
    """One organisation's warehouse, or one for many: a schema each."""

    @property
    def capabilities(self) -> Capabilities: ...

    def open(self, schema: ManagedSchema, *, create: bool | None = None, read_only: bool = False) -> WarehouseSession:
        """Connect. `create`: whether a warehouse that is not there yet may be made; None: as the adapter was told.

        A `read_only` session only observes and compares; where there is no warehouse yet, it sees an empty one.

        Raises WarehouseUnavailableError, WarehouseBusyError (names the process) or MissingExtraError.
        """
