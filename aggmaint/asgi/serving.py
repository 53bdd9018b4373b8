"""Serving the API from a process of its own: uvicorn, started and stopped so that the caller can clean up after it.

Theory of operation. The socket is bound here, before uvicorn starts, because then a port that is taken is an exception
with a remedy and not an exit of the process. On SIGTERM or SIGINT uvicorn stops accepting and lets open requests end;
afterwards it raises the signal again, which by default would kill the process before the engine was closed. So for the
time of serving the signals have handlers that only ask the server to stop, and `serve` returns.
"""

import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from ..errors import AggmaintError, MissingExtraError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

Handler = Callable[[int, FrameType | None], None]
BACKLOG: Final = 2048
PORT_MAX: Final = 65535
LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
"""The names by which a server on this machine's loopback is addressed."""


class BindError(AggmaintError, OSError):
    """The server can not listen on this address."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"can not listen on {address(host, port)}: {reason}; choose another with --host and --port, "
            "or stop what uses it"
        )
        self.host = host
        self.port = port
        self.reason = reason


def address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a server on `host` is reachable from this machine only. In doubt (a name other than localhost) False."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(  # noqa: PLR0913 - a server: every part by keyword
    app: "ASGIApp",
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    log_level: str = "info",
    shutdown_s: int = 10,
    on_listening: Callable[[str], None] | None = None,
    on_hangup: Callable[[], None] | None = None,
    on_stopping: Callable[[], None] | None = None,
) -> None:
    """Serve `app` until SIGTERM or SIGINT, then return. Call it in the main thread to have the signals heeded.

    log_level     uvicorn's; access is logged to stderr at "info".
    shutdown_s    how long open requests may take after the signal. A second Ctrl-C cuts them short.
    on_hangup     called in a thread of its own on SIGHUP: read tokens again. None: SIGHUP is left as it was.
    on_stopping   called when the signal came, before open requests are waited for: long ones can be told to end.
    on_listening  is given the URL once connections are accepted; with port 0 it tells which port it became.

    Raises BindError (port in use, no right to it, no such host), MissingExtraError without uvicorn.
    """
    try:
        import uvicorn
        from uvicorn.config import LOGGING_CONFIG
    except ModuleNotFoundError as exc:
        raise MissingExtraError("uvicorn", "asgi") from exc
    log_config: dict[str, Any] = deepcopy(LOGGING_CONFIG)
    log_config["handlers"]["access"]["stream"] = "ext://sys.stderr"
    with bind(host, port) as listener:
        config = uvicorn.Config(
            app,
            log_level=log_level,
            log_config=log_config,
            timeout_graceful_shutdown=shutdown_s,
            ws="none",
            server_header=False,
        )
        server = uvicorn.Server(config)

        def stop(_number: int, _frame: FrameType | None) -> None:
            server.should_exit = True
            if on_stopping:
                on_stopping()

        def hang_up(_number: int, _frame: FrameType | None) -> None:
            threading.Thread(target=on_hangup, name="aggmaint-hangup").start()

        handlers: dict[int, Handler] = {signal.SIGTERM: stop, signal.SIGINT: stop}
        if on_hangup and hasattr(signal, "SIGHUP"):
            handlers[signal.SIGHUP] = hang_up
        with _signals(handlers):
            if on_listening:
                on_listening(f"http://{address(host, listener.getsockname()[1])}")
            server.run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises BindError."""
    if not 0 <= port <= PORT_MAX:
        raise BindError(host, port, f"a port is 0 to {PORT_MAX}")
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as exc:
        raise BindError(host, port, exc.strerror or str(exc)) from exc


@contextmanager
def _signals(handlers: Mapping[int, Handler]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
