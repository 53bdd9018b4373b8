"""The honest stores pass every check, used as a host would use the suite: by subclassing it."""

from aggmaint.testing import JobStoreSuite
from aggmaint.testing._suite_base import SuiteBase
from aggmaint.testing.suite import check_names, promise_of
from tests.testing.stores import make_memory, make_quick_sqlite


class TestMemoryStore(JobStoreSuite):
    factory = staticmethod(make_memory)


class TestSQLiteStore(JobStoreSuite):
    factory = staticmethod(make_quick_sqlite)


def test_every_check_says_what_is_promised() -> None:
    for name in check_names(JobStoreSuite):
        promise = promise_of(JobStoreSuite, name)
        assert promise.endswith(".") and len(promise) > 30, f"{name}: {promise!r}"


def test_no_two_parts_of_the_suite_share_a_name() -> None:
    """A method of one part that hides another part's would drop checks silently."""
    shared: dict[str, type] = {}
    for part in JobStoreSuite.__mro__[1:]:
        if part in (SuiteBase, object):
            continue
        for name in vars(part):
            if not name.startswith("__"):
                assert name not in shared, f"{part.__name__}.{name} is also in {shared[name].__name__}"
                assert not hasattr(SuiteBase, name), f"{part.__name__}.{name} hides SuiteBase.{name}"
                shared[name] = part
