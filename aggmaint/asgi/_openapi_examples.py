"""Bodies to show in the OpenAPI document: the published ones, as they are (a test compares them), and ours in their form."""

from typing import Any, Final

JOB_DONE: Final[dict[str, Any]] = {
    "id": "aba2c665-9535-4377-8eac-66482a0a1cbf",
    "organizationId": "default",
    "triggerType": "TimeBasedMaintenance",
    "creationTime": "2022-04-01T05:53:55.278706Z",
    "startTime": "2022-04-01T05:53:55.278706Z",
    "endTime": "2022-04-01T05:53:55.449299Z",
    "status": "done",
    "errorInformation": {},
}
PUBLISHED: Final[dict[str, Any]] = {
    "current_job": {
        "status": {"code": 0, "message": "200 OK"},
        "responseCreated": "2021-12-17T11:04:12.945567Z",
        "response": {
            "id": "87bcb6ee-896d-4d8c-8fcf-b2e3a1342be1",
            "organizationId": "default",
            "triggerType": "CubeUpdateMaintenance(FirstTimeCubeProcessed)",
            "creationTime": "2021-12-17T10:23:36.534831Z",
            "startTime": "2021-12-17T10:23:36.534832Z",
            "endTime": "2021-12-17T10:23:37.377313Z",
            "status": "inprogress",
            "errorInformation": {},
        },
    },
    "history": {
        "status": {"code": 0, "message": "200 OK"},
        "responseCreated": "2022-04-01T14:01:14.372616Z",
        "response": {
            "data": [
                JOB_DONE,
                {
                    "id": "1169ecd4-1904-42ba-801e-efb649c8531c",
                    "organizationId": "default",
                    "triggerType": "TimeBasedMaintenance",
                    "creationTime": "2022-03-31T22:01:18.371775Z",
                    "startTime": "2022-03-31T22:01:18.371776Z",
                    "endTime": "2022-03-31T22:01:18.562840Z",
                    "status": "done",
                    "errorInformation": {},
                },
                {
                    "id": "955c391d-63e1-4e36-a3ba-4509ef1dd947",
                    "organizationId": "default",
                    "triggerType": "CubeUpdateMaintenance(FirstTimeCubeProcessed)",
                    "creationTime": "2022-03-31T15:23:07.948496Z",
                    "startTime": "2022-03-31T15:23:07.948496Z",
                    "endTime": "2022-03-31T15:23:08.236517Z",
                    "status": "done",
                    "errorInformation": {},
                },
                {
                    "id": "47dc8cc8-1ba4-45e4-b23d-a2135b1f3a5e",
                    "organizationId": "default",
                    "triggerType": "CubeUpdateMaintenance(FirstTimeCubeProcessed)",
                    "creationTime": "2022-03-31T15:20:57.113649Z",
                    "startTime": "2022-03-31T15:20:57.113650Z",
                    "endTime": "2022-03-31T15:20:57.689258Z",
                    "status": "done",
                    "errorInformation": {},
                },
            ],
            "limit": 10,
            "offset": 0,
            "force_pull": False,
        },
    },
    "run_immediately": {
        "status": {"code": 200, "message": "Maintenance successfully started for default"},
        "responseCreated": "2022-03-31T22:01:18.370769Z",
        "response": None,
    },
    "schedules": {
        "status": {"code": 200, "message": "success"},
        "responseCreated": "2022-04-02T14:34:23.585278Z",
        "response": [
            {
                "job_id": "3740f5fd-a6b8-45fb-a3ab-313bf8481af3",
                "organization_Id": "default",
                "full_build": False,
                "time_expression": "0 0 4 ? * * *",
                "created_by_user": "admin",
                "created_at": "2022-03-31T15:18:50.311944Z",
                "latest_execution": {
                    "id": "8fe6e402-843b-4d04-a441-38ae4cc330b3",
                    "jobId": "3740f5fd-a6b8-45fb-a3ab-313bf8481af3",
                    "executedAt": "2022-04-02T10:56:35.160070Z",
                },
                "path": "time-based",
            }
        ],
    },
}

INSTANCE: Final[dict[str, Any]] = {
    "id": "e0bc4492-2b6f-4a7a-a7a2-51a9f1d1a001",
    "status": "active",
    "message": "Normal aggregate activated",
    "table_name": "as_agg_e0bc4492_orders_by_mont",
    "table_schema": "agg_default",
    "batch_id": None,
    "connection_id": None,
    "definition_id": "7e2d8ff5-7a45-5a52-9c4e-7d2c4f2b9c10",
    "cube_id": "sales",
    "project_id": None,
    "invalidation_reason": None,
    "stats": {
        "materialization_start_time": "2026-03-02T04:00:00.105112Z",
        "materialization_end_time": "2026-03-02T04:00:02.009341Z",
        "build_duration": 1904,
        "number_of_rows": 84,
    },
}
DEFINITION: Final[dict[str, Any]] = {
    "id": "7e2d8ff5-7a45-5a52-9c4e-7d2c4f2b9c10",
    "name": "orders by month",
    "type": "user_defined",
    "subtype": "manual",
    "incremental": True,
    "organization_id": "default",
    "project_id": None,
    "project_caption": None,
    "cube_id": "sales",
    "cube_name": "sales",
    "cube_caption": "sales",
    "connection_id": None,
    "blocked": False,
    "attributes": [{"name": "month", "type": "dimension"}, {"name": "orders", "type": "measure"}],
    "latest_instance": INSTANCE,
    "active_instance": INSTANCE,
    "stats": {
        "created_at": "2026-03-02T04:00:00.105112Z",
        "average_build_duration": 1904,
        "query_utilization": None,
        "most_recent_query": None,
    },
    "most_recent_invalidation_reason": None,
}


def page_of(entry: dict[str, Any]) -> dict[str, Any]:
    """An envelope in the engine style around one page with one entry."""
    return {
        "status": {"code": 0, "message": "200 OK"},
        "responseCreated": "2026-03-02T12:00:00.000000Z",
        "response": {"data": [entry], "limit": 10, "offset": 0, "force_pull": False},
    }


def error_body(status: int, message: str, error: str, **details: Any) -> dict[str, Any]:
    return {
        "status": {"code": status, "message": message},
        "responseCreated": "2026-03-02T12:00:00.000000Z",
        "response": {"error": error, "message": message, **details},
    }
