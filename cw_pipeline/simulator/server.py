"""The simulator as a running server."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import uvicorn

from cw_pipeline.simulator.app import App
from cw_pipeline.simulator.state import State

if TYPE_CHECKING:
    from pathlib import Path

    from cw_pipeline.simulator.tenant import Tenant


class Simulator(State):
    """ConnectWise PSA for one tenant, on 127.0.0.1, while the `with` block lasts.

    `options` are those of State. `certificate` (PEM, with its private key) makes it speak TLS.
    """

    def __init__(
        self,
        tenant: Tenant,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        certificate: Path | None = None,
        **options: Any,  # noqa: ANN401 - State names and checks them
    ) -> None:
        self._socket = socket.create_server((host, port), backlog=512)
        scheme = "https" if certificate else "http"
        super().__init__(tenant, f"{scheme}://{host}:{self._socket.getsockname()[1]}", **options)
        self._server = uvicorn.Server(
            uvicorn.Config(
                App(self),
                http=self.connections.protocol(),
                lifespan="off",
                log_config=None,
                access_log=False,
                date_header=False,
                server_header=False,
                timeout_graceful_shutdown=1,
                ssl_certfile=certificate,
            )
        )
        self._thread = threading.Thread(target=self.run, name="simulator", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)

    def run(self) -> None:
        """Serves until stopped; blocks."""
        self.callbacks.listen()
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self.callbacks.close()
            self._socket.close()


def serve(tenant: Tenant, host: str = "127.0.0.1", port: int = 8080, **options: object) -> None:
    """Serves a tenant until the process is told to stop. `options` are the Simulator's."""
    Simulator(tenant, host=host, port=port, **options).run()  # type: ignore[arg-type]
