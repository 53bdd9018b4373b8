"""The conformance kit: proves that a store or a scheduler keeps the promises of its port, and helps to test with them.

Not for production: it imports pytest and hypothesis (`pip install 'aggmaint[testing]'`), and nothing at run time imports it.
`Simulation` is imported by its path, `aggmaint.testing.simulation`, which is a command too. See
docs/how-to/write-a-store.md and docs/reference/conformance.md.
"""

from ._expect import CheckFailedError
from .certificate import Certificate, Effort, certify
from .clocks import NOON, FileClock, ManualClock
from .driving import Driver
from .faulty import FaultyStore, ScriptedPlan, SeededPlan
from .linearizability import History, is_linearizable
from .machine import StoreMachine, run_store_machine
from .scheduler_suite import SchedulerSuite
from .stepped import SteppedExecutor, Stepper
from .suite import CheckResult, JobStoreSuite, Outcome, run_suite
from .timings import Timings, measure

__all__ = [
    "NOON",
    "Certificate",
    "CheckFailedError",
    "CheckResult",
    "Driver",
    "Effort",
    "FaultyStore",
    "FileClock",
    "History",
    "JobStoreSuite",
    "ManualClock",
    "Outcome",
    "SchedulerSuite",
    "ScriptedPlan",
    "SeededPlan",
    "SteppedExecutor",
    "Stepper",
    "StoreMachine",
    "Timings",
    "certify",
    "is_linearizable",
    "measure",
    "run_store_machine",
    "run_suite",
]
