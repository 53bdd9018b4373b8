"""What OpenAPI can not say, told to schemathesis: formats of ours, and which parameters belong together.

Loaded by schemathesis in a process of its own (SCHEMATHESIS_HOOKS); see test_openapi.py.
"""

from typing import Any

import schemathesis
from hypothesis import strategies as st

EXPRESSIONS = ("0 0 4 ? * * *", "0 30 2 ? * MON-FRI", "0 0/15 * * * ?", "0 0 4 L * ?")
schemathesis.openapi.format("quartz-cron", st.sampled_from(EXPRESSIONS))
schemathesis.openapi.format("cursor", st.sampled_from(["", "MTo1", "MTox"]))


@schemathesis.hook
def map_case(_context: Any, case: Any) -> Any:
    """An expression is in the query or in the body, and the same in both; a cursor excludes an offset.

    Only what is valid is brought together: what is wrong on purpose stays wrong."""
    query = case.query if isinstance(case.query, dict) else {}
    body = case.body if isinstance(case.body, dict) else {}
    if case.operation.path.endswith("/scheduler/jobs/orgId/{orgId}") and case.method.upper() == "POST":
        if isinstance(query.get("time_expression"), str) and isinstance(body.get("time_expression"), str):
            body["time_expression"] = query["time_expression"]
        if "time_expression" not in query and "time_expression" not in body:
            case.query = {**query, "time_expression": EXPRESSIONS[0]}
    if "after" in query and str(offset := query.get("offset")).isdecimal() and int(str(offset)) < 2**63:
        query.pop("offset")
    return case
