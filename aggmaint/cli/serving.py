"""`serve`: the engine with its scheduler, the HTTP API and the dashboard, in one process."""

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

from ..config import load_config
from ..errors import ConfigurationError, MissingExtraError
from . import show
from .hosting import make_engine
from .options import config_option

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from ..asgi import Dashboard


@click.command()
@config_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8321, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False),
    help="Bearer tokens and rights; read again on a change and on SIGHUP.",
)
@click.option("--insecure-no-auth", is_flag=True, help="Let everybody do everything. Only on a loopback address.")
@click.option("--no-scheduler", is_flag=True, help="Run no schedules here; another process does.")
@click.option("--metrics", is_flag=True, help="Serve /metrics for Prometheus, to whoever reaches the address.")
@click.option("--no-dashboard", is_flag=True, help="Serve the API only, without pages.")
def serve(  # noqa: PLR0913 - one parameter for each word of the command line
    config_path: str,
    host: str,
    port: int,
    token_file: str | None,
    insecure_no_auth: bool,
    no_scheduler: bool,
    metrics: bool,
    no_dashboard: bool,
) -> None:
    """Run schedules, and serve the dashboard and the HTTP API, until interrupted.

    The dashboard is at the address that is printed; it asks for a token if there is a token file. AtScale's documented
    routes answer below /aggregates/maintenance, with and without /api/1.0.
    """
    from .. import asgi
    from ..schedulers.thread import ThreadScheduler

    config = load_config(config_path)
    if insecure_no_auth and not asgi.is_loopback(host):
        raise ConfigurationError(
            f"--insecure-no-auth is refused on {host}: anybody there could start jobs; use --token-file"
        )
    if insecure_no_auth == (token_file is not None):
        raise ConfigurationError("give either --token-file FILE, or --insecure-no-auth on a loopback address")
    tokens = None if token_file is None else asgi.TokenFile(token_file)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    scheduler = None if no_scheduler else ThreadScheduler()
    counted = asgi.Metrics() if metrics else None
    listeners = [] if counted is None else [counted]
    engine = make_engine(config, config.task(), scheduler=scheduler, jobs_max=config.jobs_max, listeners=listeners)
    engine.register_organizations(config.organizations)
    schedules = "off" if no_scheduler else "on"

    make = partial(
        asgi.create_app,
        engine,
        authorize=tokens or asgi.Anonymous(),
        allowed_hosts=None if tokens else (*asgi.LOOPBACK_HOSTS, host),
        metrics=counted,
    )
    app, dashboard = _with_pages(make, None if no_dashboard else asgi.Dashboard(sign_in=tokens is not None))

    def tell(url: str) -> None:
        pages = f"dashboard at {url}/" if dashboard else f"API on {url}"
        show.say(f"serving {len(config.organizations)} organisations, {pages}, schedules {schedules}; Ctrl-C ends")

    def stop_streams() -> None:
        if dashboard is not None:
            dashboard.stop()

    with engine:
        asgi.serve(
            app,
            host=host,
            port=port,
            on_listening=tell,
            on_hangup=tokens.reload if tokens else None,
            on_stopping=stop_streams,
        )


def _with_pages(make: "Callable[..., ASGIApp]", dashboard: "Dashboard | None") -> tuple["ASGIApp", "Dashboard | None"]:
    """The app, and the dashboard that is in it: none where Jinja2 is not installed, which is said and no error."""
    if dashboard is not None:
        try:
            return make(mounted=[dashboard]), dashboard
        except MissingExtraError as missing:
            if missing.extra != "dashboard":
                raise
            show.say(f"without dashboard: {missing.message}")
    return make(), None
