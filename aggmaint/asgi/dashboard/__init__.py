"""The dashboard: pages for people over an engine, as one more family of routes beside the API.

    create_app(engine, authorize=…, mounted=[Dashboard()])

It reads the job store through the engine, and never opens a warehouse. It needs Jinja2 (extra `dashboard`),
imported when the app is made.
"""

from .mount import Dashboard

__all__ = ["Dashboard"]
