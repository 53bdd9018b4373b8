"""The conformance kit: proves that a store, a scheduler or a warehouse keeps the promises of its port, and helps to test.

Not for production: it imports pytest and hypothesis (`pip install 'aggmaint[testing]'`), and nothing at run time imports it.
`Simulation` is imported by its path, `aggmaint.testing.simulation`, which is a command too. See
docs/how-to/write-a-store.md, docs/how-to/write-a-warehouse.md and docs/reference/conformance.md.
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
from .warehouse_bench import MemoryBench, SqlBench, WarehouseBench
from .warehouse_certificate import WarehouseCertificate, certify_warehouse
from .warehouse_suite import WarehouseSuite

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
    "MemoryBench",
    "Outcome",
    "SchedulerSuite",
    "ScriptedPlan",
    "SeededPlan",
    "SqlBench",
    "SteppedExecutor",
    "Stepper",
    "StoreMachine",
    "Timings",
    "WarehouseBench",
    "WarehouseCertificate",
    "WarehouseSuite",
    "certify",
    "certify_warehouse",
    "is_linearizable",
    "measure",
    "run_store_machine",
    "run_suite",
]
