"""`serve`: the engine with its scheduler, and the HTTP API, in one process."""

import logging

import click

from ..config import load_config
from ..errors import ConfigurationError
from . import show
from .hosting import make_engine
from .options import config_option


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
@click.option("--no-scheduler", is_flag=True, help="Serve the API only; schedules are run by another process.")
def serve(
    config_path: str, host: str, port: int, token_file: str | None, insecure_no_auth: bool, no_scheduler: bool
) -> None:
    """Run schedules and serve the HTTP API until interrupted.

    Answers AtScale's documented routes below /aggregates/maintenance, with and without /api/1.0.
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
    engine = make_engine(config, config.task(), scheduler=scheduler, jobs_max=config.jobs_max)
    engine.register_organizations(config.organizations)
    schedules = "off" if no_scheduler else "on"

    def tell(url: str) -> None:
        show.say(f"serving {len(config.organizations)} organisations on {url}, schedules {schedules}; Ctrl-C ends")

    with engine:
        app = asgi.create_app(
            engine, authorize=tokens or asgi.Anonymous(), allowed_hosts=None if tokens else asgi.LOOPBACK_HOSTS
        )
        asgi.serve(app, host=host, port=port, on_listening=tell, on_hangup=tokens.reload if tokens else None)
