"""The closed vocabulary of reasons: why each candidate is, or is not, worked on.

A run looks at candidates: definitions, partitions, instances, views, and objects in the schema. Each gets exactly one
decision, and each decision exactly one reason of this list, those that need nothing included. Codes are stable: programs may
compare them. The weight says what a reason means for the run: `fine` nothing to say, `work` something to do, `finding`
worth telling, `problem` something that should have been done can not be (the report is not complete).
"""

from collections.abc import Mapping
from enum import StrEnum

from attrs import frozen


class Weight(StrEnum):
    FINE = "fine"
    WORK = "work"
    FINDING = "finding"
    PROBLEM = "problem"


class Reason(StrEnum):
    # definitions
    DEFINITION_FRESH = "definition_fresh"
    DEFINITION_STALE = "definition_stale"
    DEFINITION_UNAFFECTED = "definition_unaffected"
    DEFINITION_BLOCKED = "definition_blocked"
    DEFINITION_INVALID = "definition_invalid"
    SOURCE_UNAVAILABLE = "source_unavailable"
    QUERY_FAILED = "query_failed"
    VIEW_NAME_TAKEN = "view_name_taken"
    TOO_MANY_PARTITIONS = "too_many_partitions"
    BUILD_FIRST = "build_first"
    BUILD_AGAIN = "build_again"
    BUILD_BROKEN = "build_broken"
    BUILD_DEFINITION_CHANGED = "build_definition_changed"
    BUILD_SOURCE_TYPES_CHANGED = "build_source_types_changed"
    BUILD_REQUESTED = "build_requested"
    DEFINITION_OVER_BUDGET = "definition_over_budget"
    DEFINITION_MIXED = "definition_mixed"
    DEFINITION_DISOWNED = "definition_disowned"
    GATE_FAILED = "gate_failed"
    LEDGER_LOST = "ledger_lost"
    ADOPT_TABLE = "adopt_table"
    ADOPT_REFUSED = "adopt_refused"
    UPSTREAM_FIRST = "upstream_first"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    # partitions
    PARTITION_FRESH = "partition_fresh"
    PARTITION_NEW = "partition_new"
    PARTITION_CHANGED = "partition_changed"
    PARTITION_EMPTIED = "partition_emptied"
    PARTITION_DAMAGED = "partition_damaged"
    PARTITION_UNVERIFIABLE = "partition_unverifiable"
    DEPENDENCY_CHANGED = "dependency_changed"
    PARTITION_VOUCHED = "partition_vouched"
    PARTITION_MARKED = "partition_marked"
    PARTITION_UNDECLARED_CHANGE = "partition_undeclared_change"
    PARTITION_UNVERIFIED = "partition_unverified"
    PARTITION_REQUESTED = "partition_requested"
    PARTITION_OVER_BUDGET = "partition_over_budget"
    # instances
    INSTANCE_HEALTHY = "instance_healthy"
    INSTANCE_MISSING = "instance_missing"
    INSTANCE_REPLACED = "instance_replaced"
    INSTANCE_COLUMNS_DIFFER = "instance_columns_differ"
    INSTANCE_UNREADABLE = "instance_unreadable"
    INSTANCE_DEACTIVATED = "instance_deactivated"
    INSTANCE_UNDEFINED = "instance_undefined"
    MASS_DROP_REFUSED = "mass_drop_refused"
    INSTANCE_BUILDING = "instance_building"
    INSTANCE_ABANDONED = "instance_abandoned"
    INSTANCE_FAILED_KEPT = "instance_failed_kept"
    INSTANCE_FAILED_EXPIRED = "instance_failed_expired"
    INSTANCE_RETIRED_KEPT = "instance_retired_kept"
    INSTANCE_RETIRED_EXPIRED = "instance_retired_expired"
    INSTANCE_LEFT_OVER = "instance_left_over"
    INSTANCE_DELETED = "instance_deleted"
    INSTANCE_FORGOTTEN = "instance_forgotten"
    INSTANCE_LEDGER_WRONG = "instance_ledger_wrong"
    # views and other objects
    VIEW_CURRENT = "view_current"
    VIEW_MISSING = "view_missing"
    OBJECT_FOREIGN = "object_foreign"
    # the life of definitions
    DEFINITION_UNUSED = "definition_unused"
    DEFINITION_OVER_LIMIT = "definition_over_limit"
    DEFINITION_DEACTIVATED = "definition_deactivated"
    BUILD_REACTIVATED = "build_reactivated"
    # change marks
    MARK_UNKNOWN = "mark_unknown"
    OBJECT_LOST = "object_lost"
    # of any candidate
    NOT_COVERED = "not_covered"
    # changes of a definition
    BUILD_MEASURES_ADDED = "build_measures_added"
    BUILD_MEASURES_REMOVED = "build_measures_removed"
    BUILD_STRUCTURE_CHANGED = "build_structure_changed"
    BUILD_PARTITION_CHANGED = "build_partition_changed"
    VIEW_CHANGED = "view_changed"
    INSTANCE_RESUMED = "instance_resumed"
    # rows were only added
    PARTITION_MERGED = "partition_merged"
    PARTITION_MERGE_SMALL = "partition_merge_small"
    PARTITION_MERGE_REFUSED = "partition_merge_refused"


@frozen
class ReasonMeaning:
    weight: Weight
    sentence: str


_FINE, _WORK, _FINDING, _PROBLEM = Weight.FINE, Weight.WORK, Weight.FINDING, Weight.PROBLEM

_TABLE: Mapping[Reason, tuple[Weight, str]] = {
    Reason.DEFINITION_FRESH: (_FINE, "Every partition is current."),
    Reason.DEFINITION_STALE: (_WORK, "At least one partition is not current; only those are refreshed."),
    Reason.DEFINITION_UNAFFECTED: (
        _WORK,
        "A source changed, but no partition's result: only the source's token is noted.",
    ),
    Reason.DEFINITION_BLOCKED: (_FINE, "The definition is deactivated by hand: it is neither built nor served."),
    Reason.DEFINITION_INVALID: (_PROBLEM, "The definition can not be used; what was built before stays in service."),
    Reason.SOURCE_UNAVAILABLE: (_PROBLEM, "A source could not be read; what was built before stays in service."),
    Reason.QUERY_FAILED: (_PROBLEM, "The warehouse broke off the aggregate's query; what was built before stays."),
    Reason.VIEW_NAME_TAKEN: (_PROBLEM, "An object that is not ours has the name of the aggregate's view."),
    Reason.TOO_MANY_PARTITIONS: (_PROBLEM, "The sources have more periods than the policy allows."),
    Reason.BUILD_FIRST: (_WORK, "The aggregate was never built."),
    Reason.BUILD_AGAIN: (_WORK, "No instance is in service: the last one failed, was retired or was found broken."),
    Reason.BUILD_BROKEN: (_WORK, "The health check found the table missing or broken; a new one is built."),
    Reason.BUILD_DEFINITION_CHANGED: (
        _WORK,
        "The definition reads other rows (or nobody knows how it was before); a new table is built beside the old one.",
    ),
    Reason.BUILD_SOURCE_TYPES_CHANGED: (
        _WORK,
        "The sources' types changed the columns; a new table is built beside.",
    ),
    Reason.BUILD_REQUESTED: (_WORK, "A person asked for a rebuild; a new table is built beside."),
    Reason.DEFINITION_OVER_BUDGET: (_WORK, "The run's budget was used up; a later run builds or refreshes it."),
    Reason.DEFINITION_MIXED: (
        _WORK,
        "The run's budget, or what it was asked for, reached a part of its stale partitions: until the others follow, "
        "readers see old and new partitions side by side.",
    ),
    Reason.DEFINITION_DISOWNED: (_WORK, "A person gave its table and view away; they stay, and are no longer ours."),
    Reason.GATE_FAILED: (
        _PROBLEM,
        "What was computed did not pass the gate before its publish (keys in range, unique grain, totals equal to the "
        "sources'); what was published before stays.",
    ),
    Reason.LEDGER_LOST: (
        _PROBLEM,
        "A table of it is there, but the ledger does not name it; nothing is built before it is adopted or a rebuild is "
        "asked for.",
    ),
    Reason.ADOPT_TABLE: (_WORK, "A table of ours that the ledger lost is proved, and recorded again."),
    Reason.ADOPT_REFUSED: (_PROBLEM, "The ledger lost its table, and the one that is there can not be adopted."),
    Reason.UPSTREAM_FIRST: (
        _WORK,
        "An aggregate that it reads is brought up to date first; it follows in the same run, or else in the next.",
    ),
    Reason.UPSTREAM_UNAVAILABLE: (
        _PROBLEM,
        "An aggregate that it reads can not be used or could not be brought up to date; what was built before stays.",
    ),
    Reason.PARTITION_FRESH: (
        _FINE,
        "The source's fingerprint is the one that was published, and the table is whole.",
    ),
    Reason.PARTITION_NEW: (_WORK, "The source has rows of a period that the aggregate has not."),
    Reason.PARTITION_CHANGED: (_WORK, "The source's fingerprint of the period differs from the published one."),
    Reason.PARTITION_EMPTIED: (_WORK, "The source has no rows of the period any more."),
    Reason.PARTITION_DAMAGED: (_FINDING, "The table's rows of the period are not those that were published."),
    Reason.PARTITION_UNVERIFIABLE: (_WORK, "The published fingerprint was made by another engine version or rule."),
    Reason.DEPENDENCY_CHANGED: (_WORK, "A source that the definition depends on as a whole changed."),
    Reason.PARTITION_VOUCHED: (
        _FINE,
        "Nothing says that it changed, and not all of it was compared in this run: its source's declaration or the "
        "engine vouches for its rows, or its table is large. The rotating audit compares it in its turn.",
    ),
    Reason.PARTITION_MARKED: (_WORK, "The host marked it as changed, and its source's fingerprint differs."),
    Reason.PARTITION_UNDECLARED_CHANGE: (
        _FINDING,
        "Its source changed in a way that the source's declaration rules out, or behind the engine's token.",
    ),
    Reason.PARTITION_UNVERIFIED: (
        _FINDING,
        "Its fingerprint was made by another engine version or rule; it is refreshed by a later run, because this "
        "one refreshes as many such partitions as the policy allows.",
    ),
    Reason.PARTITION_REQUESTED: (_WORK, "A person asked for the partition to be computed again."),
    Reason.PARTITION_OVER_BUDGET: (
        _WORK,
        "It is not current, but the run's budget was used up; a later run does it.",
    ),
    Reason.INSTANCE_HEALTHY: (_FINE, "The table is there, readable, ours and has its columns."),
    Reason.INSTANCE_MISSING: (_FINDING, "The table is gone; the instance leaves the view at once."),
    Reason.INSTANCE_REPLACED: (
        _FINDING,
        "Something that is not ours stands where the table was; it is not touched.",
    ),
    Reason.INSTANCE_COLUMNS_DIFFER: (_FINDING, "The table's columns are not those that were built."),
    Reason.INSTANCE_UNREADABLE: (_FINDING, "The table could not be read."),
    Reason.INSTANCE_DEACTIVATED: (_WORK, "The definition is blocked or deactivated: the instance leaves the view."),
    Reason.INSTANCE_UNDEFINED: (_WORK, "The definition is gone: the instance leaves the view."),
    Reason.MASS_DROP_REFUSED: (
        _PROBLEM,
        "Too many definitions are gone, or unused, at once; nothing of theirs is retired or dropped without approval.",
    ),
    Reason.INSTANCE_BUILDING: (_FINE, "A job builds it now."),
    Reason.INSTANCE_ABANDONED: (_WORK, "Its builder died or lost its job; what it left is dropped."),
    Reason.INSTANCE_FAILED_KEPT: (_FINE, "It failed, was cancelled or found unreliable; kept for the grace."),
    Reason.INSTANCE_FAILED_EXPIRED: (_WORK, "It failed, was cancelled or found unreliable; the grace is over."),
    Reason.INSTANCE_RETIRED_KEPT: (_FINE, "It was superseded or deactivated; kept for queries that still read it."),
    Reason.INSTANCE_RETIRED_EXPIRED: (_WORK, "It was superseded or deactivated; the grace is over."),
    Reason.INSTANCE_LEFT_OVER: (_WORK, "A table of ours came after its instance was deleted; it is dropped."),
    Reason.INSTANCE_DELETED: (_FINE, "Its table is dropped; the record is kept for a while."),
    Reason.INSTANCE_FORGOTTEN: (_WORK, "It was deleted long ago; its record is removed."),
    Reason.INSTANCE_LEDGER_WRONG: (
        _FINDING,
        "The ledger's partitions of it overlap, or do not add up to its rows; it leaves the view at once.",
    ),
    Reason.VIEW_CURRENT: (_FINE, "The view reads the active instance."),
    Reason.VIEW_MISSING: (_FINDING, "The view is gone or reads another table; it is made again."),
    Reason.MARK_UNKNOWN: (
        _FINDING,
        "A change mark names a source that no aggregate reads; probably it is misspelt.",
    ),
    Reason.OBJECT_FOREIGN: (_FINDING, "The object is not provably ours; it is never touched."),
    Reason.DEFINITION_UNUSED: (
        _WORK,
        "Demand-defined, and not used for too long: it is deactivated, its table dropped by a later run.",
    ),
    Reason.DEFINITION_OVER_LIMIT: (
        _WORK,
        "Its cube has too many system-defined aggregates and it is among the least used: it is deactivated.",
    ),
    Reason.DEFINITION_DEACTIVATED: (
        _FINE,
        "It was deactivated earlier: it is neither built nor served until it is back.",
    ),
    Reason.BUILD_REACTIVATED: (_WORK, "It was deactivated and is wanted again; a new table is built."),
    Reason.OBJECT_LOST: (
        _FINDING,
        "The object carries our tag, but the ledger does not name it; it is not touched.",
    ),
    Reason.NOT_COVERED: (_WORK, "The job was asked for something else only; a later run does it."),
    Reason.BUILD_MEASURES_ADDED: (
        _WORK,
        "Measures were added: of current partitions only these are computed, beside a copy of the others.",
    ),
    Reason.BUILD_MEASURES_REMOVED: (
        _WORK,
        "Measures were removed: the others are copied, current partitions not computed.",
    ),
    Reason.BUILD_STRUCTURE_CHANGED: (
        _WORK,
        "Attributes or measures are computed otherwise; a new table is built beside.",
    ),
    Reason.BUILD_PARTITION_CHANGED: (_WORK, "The rows are partitioned otherwise; a new table is built beside."),
    Reason.INSTANCE_RESUMED: (
        _WORK,
        "Its build stopped part way and goes on: partitions whose source has not changed since are kept.",
    ),
    Reason.VIEW_CHANGED: (_WORK, "Only what the view shows changed: it is made again, and the table stays."),
    Reason.PARTITION_MERGED: (
        _WORK,
        "Rows were only added to its source: they alone are read, and merged into what is published.",
    ),
    Reason.PARTITION_MERGE_SMALL: (
        _WORK,
        "Rows were only added to its source, but to compute it anew costs less than to merge them.",
    ),
    Reason.PARTITION_MERGE_REFUSED: (
        _FINDING,
        "What merging new rows would give did not pass the gate (the table is not as it was published, or a promise was "
        "not kept); it is computed anew.",
    ),
}

MEANINGS: Mapping[Reason, ReasonMeaning] = {reason: ReasonMeaning(*row) for reason, row in _TABLE.items()}
assert set(MEANINGS) == set(Reason), "every reason has a meaning"
