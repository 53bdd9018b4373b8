"""`WarehouseSuite`: every promise of the Warehouse port as a named check, for any warehouse.

With pytest, in a file of your tests:

    from aggmaint.testing import WarehouseSuite

    def make_bench(location: str) -> WarehouseBench: ...

    class TestMyWarehouse(WarehouseSuite):
        factory = staticmethod(make_bench)

or, for a certificate: `python -m aggmaint.testing certify --warehouse mypackage.tests:make_bench`.

A *bench* is a new warehouse together with the host's side of it: base tables that a check may change, readers, and
somebody else's hands (see `WarehouseBench`; `SqlBench` is one for anything that speaks SQL). Each check is a method whose
docstring says what is promised; the docs list them (docs/reference/conformance.md).
"""

from ._warehouse_claims import ClaimChecks
from ._warehouse_faults import FaultChecks
from ._warehouse_merging import MergingChecks
from ._warehouse_modelling import ModellingChecks
from ._warehouse_publishing import PublishChecks
from ._warehouse_reading import ReadingChecks


class WarehouseSuite(ReadingChecks, ClaimChecks, PublishChecks, ModellingChecks, FaultChecks, MergingChecks):
    """Subclass it, set `factory`, and pytest runs one test per promise.

    factory   `factory(location) -> WarehouseBench`: a new, empty warehouse. The location is an empty directory of its own;
              a warehouse on a server may use its name instead.
    location  the directory in which places are made (default: the system's temporary one).
    """
