"""A page server that costs next to nothing: just enough of ConnectWise for a benchmark.

It answers company info, forward-only lists of tickets, their last id and their count, and takes
any keys. The company names the list: `t200000`. Paths that begin with two underscores are for who
measures.
"""

from __future__ import annotations

import asyncio
import json
import sys
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from typing_extensions import override

from cw_pipeline.bench.pages import Dataset
from cw_pipeline.bench.records import DISTINCT, Records

LIST = "/apis/3.0/service/tickets"
_END = b"\r\n\r\n"


class OrderHandler:
    """Answers: the bytes to send, and after how many seconds."""

    def __init__(self, distinct: int) -> None:
        self._records = Records(distinct)
        self._datasets: dict[str, Dataset] = {}

    def answer(self, target: str) -> tuple[list[bytes], float]:
        """What goes out for a request's target; 404 for a list there is not."""
        try:
            return self._find_pages(target)
        except ValueError:
            return _json({"message": target}, HTTPStatus.NOT_FOUND), 0

    def _find_pages(self, target: str) -> tuple[list[bytes], float]:
        path, _, query = target.partition("?")
        asked = dict(parse_qsl(query))
        name, found, rest = path.lstrip("/").partition(LIST)
        if found:
            return self._list(self._dataset(name), rest, asked)
        what, _, name = path.lstrip("/").rpartition("/")
        dataset = self._dataset(unquote(name))
        if what == "login/companyinfo":
            return _json({"Codebase": f"{unquote(name)}/"}), 0
        return _json(self._order(what, dataset, asked)), 0

    def _dataset(self, name: str) -> Dataset:
        if name not in self._datasets:
            self._datasets[name] = Dataset.of_name(name, self._records)
        return self._datasets[name]

    def _list(
        self, dataset: Dataset, rest: str, asked: dict[str, str]
    ) -> tuple[list[bytes], float]:
        if seconds := dataset.seconds_to_wait():
            refusal = {"error": "ConnectWiseAPI", "message": "Too many requests."}
            headers = {"Retry-After": str(seconds)}
            return _json(refusal, HTTPStatus.TOO_MANY_REQUESTS, headers), dataset.wait
        if rest == "/count":
            return _json({"count": dataset.size}), dataset.wait
        if asked.get("orderBy") == "id desc":
            return _response(dataset.highest(), {}), dataset.wait
        body, last = dataset.page(asked)
        headers = {"Content-Encoding": "gzip"}
        if last is not None:
            headers["Link"] = f'<{{}}?{_following(asked, last)}>; rel="next"'
        return _response(body, headers), dataset.wait

    def _order(self, what: str, dataset: Dataset, asked: dict[str, str]) -> object:
        size = int(asked.get("pageSize", "1000"))
        if what == "__ranges":
            return {"ranges": dataset.ranges()}
        if what == "__prepare":
            return {"bytes": dataset.prepare(int(asked["lanes"]), size)}
        if what == "__change":
            return {"changed": dataset.change(int(asked["every"]), size)}
        if what == "__forget":
            dataset.forget()
        return {"asked_at": dataset.asked_at, "refused": dataset.refused}


class Connection(asyncio.Protocol):
    """One client's connection, kept open."""

    def __init__(self, handler: OrderHandler) -> None:
        self._handler = handler
        self._received = b""
        self._transport: Any = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        self._transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        """Answers every request that is complete; none of ours has a body."""
        self._received += data
        while (end := self._received.find(_END)) >= 0:
            head, self._received = self._received[:end], self._received[end + len(_END) :]
            self._answer(head.decode("latin-1"))

    def _answer(self, head: str) -> None:
        target = head.split(" ", 2)[1]
        parts, wait = self._handler.answer(target)
        if b"<{}?" in parts[0]:  # the link names the server as this client does
            host = next(x[6:] for x in head.split("\r\n") if x.lower().startswith("host: "))
            here = f"<http://{host}{target.partition('?')[0]}?".encode()
            parts[0] = parts[0].replace(b"<{}?", here, 1)
        if wait:
            asyncio.get_running_loop().call_later(wait, self._transport.writelines, parts)
        else:
            self._transport.writelines(parts)


def _following(asked: dict[str, str], last: int) -> str:
    return urlencode(asked | {"pageId": str(last)})


def _json(
    value: object, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> list[bytes]:
    return _response(json.dumps(value).encode(), headers or {}, status)


def _response(
    body: bytes, headers: dict[str, str], status: HTTPStatus = HTTPStatus.OK
) -> list[bytes]:
    lines = {
        "Date": formatdate(usegmt=True),
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(body)),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return [f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode("latin-1"), body]


async def serve(distinct: int) -> None:
    """Serves until it is ended. Prints its address once the records are made."""
    handler = OrderHandler(distinct)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(handler), "127.0.0.1", 0, backlog=256
    )
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else DISTINCT))
