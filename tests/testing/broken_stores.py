"""Stores that break one promise of the port each: the proof that the kit notices.

`FAILS` names the check that is about the promise, first, and then those that can not but notice as well; `MAY` those that
notice when threads happen to meet. The table test (test_broken_stores.py) wants exactly these to fail and no others.
"""

from typing import Any

from tests.testing.broken_answers import (
    BeforeIsIncluded,
    DropsTheInventoryAtEachEnd,
    DueAfterTheInstant,
    FindsJobsAnywhere,
    ForgetsBackOffs,
    HidesTheRunningJob,
    IgnoresDeadlines,
    KeepsEveryInventory,
    KnowsNoStrangers,
    LapsesByTheWall,
    NeedsNow,
    NeverPrunes,
    NewestFirst,
    NextOfAFullPage,
    OffsetBeforeFilters,
    OffsetCountsFromTheCount,
    OneLimitForAll,
    PrunesEverybody,
    PrunesOneMore,
    ShortReports,
    ShowsTombstones,
    SlotsById,
    Utf16Order,
    WakesForTheDisabled,
)
from tests.testing.broken_base import Broken
from tests.testing.broken_commits import (
    AllOrNothing,
    ClockStandsStill,
    ClosesOnce,
    FoldsCase,
    ForgetsChangeIds,
    HalfStale,
    IgnoresAge,
    IgnoresBoot,
    IgnoresSteps,
    InventsUnknown,
    JudgesTheBatchAtOnce,
    LastWriteWins,
    LoadsFew,
    LosesTheGrantOfARescue,
    MergesMarks,
    Milliseconds,
    PrepareForgets,
    RemembersTen,
    ResultsInAnyOrder,
    RewritesEndedJobs,
)
from tests.testing.broken_sharing import (
    CachesDocuments,
    ClaimsFencesOnly,
    ClaimsWhatNobodyChecks,
    ClosesForAll,
    FencedByTheNumber,
    FencedCommitsAnyway,
    FencedProvesTooEarly,
    FencedWithoutProof,
    FilesWithoutLock,
    LeavesItsLock,
    LosesReportsWhenReopened,
    NoLock,
    OneLocation,
    PreparesAlone,
    TornDocuments,
    WritesWhenClosed,
)

ALONE: tuple[type[Broken], ...] = (
    PrepareForgets,
    InventsUnknown,
    LoadsFew,
    ClockStandsStill,
    Milliseconds,
    MergesMarks,
    FoldsCase,
    ClosesOnce,
    LastWriteWins,
    HalfStale,
    IgnoresAge,
    IgnoresSteps,
    IgnoresBoot,
    ForgetsChangeIds,
    RemembersTen,
    AllOrNothing,
    ResultsInAnyOrder,
    JudgesTheBatchAtOnce,
    LosesTheGrantOfARescue,
    RewritesEndedJobs,
    ShortReports,
    KeepsEveryInventory,
    DropsTheInventoryAtEachEnd,
    FindsJobsAnywhere,
    HidesTheRunningJob,
    KnowsNoStrangers,
    BeforeIsIncluded,
    OffsetBeforeFilters,
    NextOfAFullPage,
    OffsetCountsFromTheCount,
    PrunesOneMore,
    PrunesEverybody,
    NeverPrunes,
    Utf16Order,
    ShowsTombstones,
    DueAfterTheInstant,
    SlotsById,
    NewestFirst,
    ForgetsBackOffs,
    IgnoresDeadlines,
    LapsesByTheWall,
    OneLimitForAll,
    WakesForTheDisabled,
    NeedsNow,
    NoLock,
    TornDocuments,
    ClaimsWhatNobodyChecks,
    ClaimsFencesOnly,
)
"""Stores with a single handle: each breaks what one handle can show."""

FENCED: tuple[Any, ...] = (FencedWithoutProof, FencedByTheNumber, FencedCommitsAnyway, FencedProvesTooEarly)
"""Stores that claim Fences."""

HANDLES: tuple[Any, ...] = (CachesDocuments, WritesWhenClosed, LosesReportsWhenReopened, ClosesForAll, OneLocation)
"""Stores that break what several handles in one process can show."""

PROCESSES: tuple[Any, ...] = (FilesWithoutLock, LeavesItsLock, PreparesAlone)
"""Stores that break what only several processes can show."""
