"""The API behind the door: lists, records, counts, searches, reports and writes."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING, Any, assert_never
from urllib.parse import unquote

from cw_pipeline.simulator import answers, derived, lists, system
from cw_pipeline.simulator.answers import Answer, as_json
from cw_pipeline.simulator.query import forward_link, page_links, prune, question
from cw_pipeline.simulator.role import PLAIN, Quirk, covers
from cw_pipeline.simulator.routes import Target
from cw_pipeline.simulator.tenant import canonical
from cw_pipeline.simulator.writes import write

if TYPE_CHECKING:
    from cw_pipeline.simulator.query import ListRequest
    from cw_pipeline.simulator.state import State
    from cw_pipeline.simulator.wire import ReceivedRequest

_SEEDED = b"/v2025_1/"
"""The codebase in the hrefs of seeded records; answers carry the one in force."""
_TOKENS = re.compile(r"/system/members/([^/]+)/tokens/?\Z", re.IGNORECASE)
_REPORTS = re.compile(r"/system/reports(?:/([^/]+))?(?:/(columns|count))?/?\Z", re.IGNORECASE)


class Api:
    """Answers requests that have passed the door. `path` is what follows `…/apis/3.0`."""

    def __init__(self, sim: State) -> None:
        self._sim = sim
        self._pages: dict[Any, tuple[Any, Answer]] = {}

    def answer(self, request: ReceivedRequest, path: str) -> Answer:
        """The answer to one request. Raises Refusal."""
        if match := _TOKENS.match(path):
            return self._sim.keys.impersonate(self._sim.tenant, match[1], request.headers)
        asked = question(
            request.query,
            forward_only=self._forward_only(request, path),
            max_page_size=self._sim.max_page_size,
        )
        with self._sim.tenant.lock:
            if (odd := self._odd(request, path, asked)) is not None:
                return odd
            if request.method != "GET" and derived.is_copy(path):
                return answers.wrong_method("GET")
            path, asked = derived.original(self._sim.tenant, path, asked)
            if self._sim.role.forbids(canonical(path)):
                return answers.not_allowed()
            target = derived.default(self._sim.tenant, path) or self._sim.routes.find(path)
            if request.method != "GET" and target.what != "search":
                answer = write(
                    self._sim.tenant, request.method, target, request.body, self._url(request)
                )
                return _cut_down(answer, asked)
            return self._read(request, target, asked)

    def _odd(self, request: ReceivedRequest, path: str, asked: ListRequest) -> Answer | None:
        """What is no plain list of records."""
        place = canonical(path)
        if place == "/system/info":
            return system.info(self._sim.codebase)
        if place.startswith("/system/audittrail"):
            found = system.audit_trail(self._sim.tenant, self._url(request), request.query, asked)
            return as_json({"count": found[1]}) if place.endswith("/count") else found[0]
        if place in {derived.BUNDLES, f"{derived.BUNDLES}/count"}:
            return self._bundle(request, counts=place.endswith("/count"))
        if place == "/system/documents":
            list_of = system.documents(request.method, request.query)
            return self._page(request, Target("list", list_of), asked)
        if match := _REPORTS.match(unquote(path)):
            return self._sim.reports.answer(match[1], match[2], self._url(request), request.query)
        return None

    def _bundle(self, request: ReceivedRequest, *, counts: bool) -> Answer:
        def read(target: Target, asked: ListRequest) -> Answer:
            if self._sim.role.forbids(target.path):
                raise answers.Refusal(answers.not_allowed())
            self._sim.routes.find(target.path)
            return self._read(request, target, asked)

        if request.method != "POST":
            return answers.wrong_method("POST")
        return derived.bundle(
            request.body, read, counts=counts, max_page_size=self._sim.max_page_size
        )

    def _read(self, request: ReceivedRequest, target: Target, asked: ListRequest) -> Answer:
        view = self._view(target.path)
        match target.what:
            case "record":
                return self._record(view, target, asked)
            case "count":
                if view.quirk.no_count:
                    return answers.no_endpoint()
                return as_json({"count": len(lists.matching(view, asked))})
            case "search":
                return self._search(request, target)
            case "list":
                return self._page(request, target, asked)
            case unknown:
                assert_never(unknown)

    def _search(self, request: ReceivedRequest, target: Target) -> Answer:
        """POST /search: the parameters come in the body."""
        if request.method != "POST":
            return answers.wrong_method("POST")
        body = answers.from_json(request.body)
        if not isinstance(body, dict):
            raise answers.BadQuery("The body must be one JSON object.", "body")
        query = {**request.query, **{k: str(v) for k, v in body.items() if v is not None}}
        asked = question(
            query,
            forward_only=self._forward_only(request, target.path),
            max_page_size=self._sim.max_page_size,
        )
        return self._page(request, target, asked)

    def _record(self, view: lists.View, target: Target, asked: ListRequest) -> Answer:
        if not lists.visible(view, target.record_id):
            return answers.no_record(target.path, target.record_id)
        if self._sim.faults.poisons(target.path, [target.record_id], asked):
            return answers.broken()
        mend = self._mend(target.path)
        record = lists.outgoing(view, target.record_id, asked.fields, mend)
        return self._with_codebase(as_json(record))

    def _page(self, request: ReceivedRequest, target: Target, asked: ListRequest) -> Answer:
        self._sim.tell_page(target.path, asked)
        packed = self._sim.page_cache and "gzip" in request.headers.get("accept-encoding", "")
        view = self._view(target.path)
        if not self._sim.page_cache or self._sim.faults.all:
            return self._make_page(request, target, asked, view)
        key = (target.path, asked, packed, self._sim.codebase)
        state = (view.collection.version, view.quirk, view.role_version, self._sim.on_premise)
        kept, answer = self._pages.get(key, (None, Answer()))
        if kept != state:
            answer = self._make_page(request, target, asked, view)
            if packed:
                answer.body = gzip.compress(answer.body, 6)
                answer.headers["Content-Encoding"] = "gzip"
            self._pages[key] = (state, answer)
        return Answer(answer.status, answer.body, answer.content_type, dict(answer.headers))

    def _make_page(
        self, request: ReceivedRequest, target: Target, asked: ListRequest, view: lists.View
    ) -> Answer:
        page = lists.page(view, asked)
        if self._sim.faults.poisons(target.path, page.ids, asked):
            return answers.broken()
        mend = self._mend(target.path)
        answer = self._with_codebase(Answer(body=lists.body(view, page.ids, asked.fields, mend)))
        link = self._link(request, asked, page)
        if link is not None:
            answer.headers["Link"] = link
        return answer

    def _mend(self, path: str) -> lists.Mend | None:
        """What is done to each record of a list on its way out; None for nothing."""
        faulty = self._sim.faults.mend(path)
        if not self._sim.on_premise:
            return faulty
        return (lambda record: faulty(lists.older(record))) if faulty else lists.older

    def _link(self, request: ReceivedRequest, asked: ListRequest, page: lists.Slice) -> str | None:
        url = self._url(request)
        if not asked.forward_only:
            return page_links(url, request.query, asked.page, page.last) or None
        if page.more or self._sim.forward_only_ending == "link":
            last = page.ids[-1] if page.ids else asked.page_id
            return forward_link(url, request.query, last)
        return "" if self._sim.forward_only_ending == "empty" else None

    def _forward_only(self, request: ReceivedRequest, path: str) -> bool:
        wanted = request.headers.get("pagination-type", "").lower() == "forward-only"
        return wanted and not self._quirk(canonical(path)).no_forward_only

    def _quirk(self, path: str) -> Quirk:
        found = (quirk for pattern, quirk in self._sim.quirks.items() if covers(pattern, path))
        return next(found, PLAIN)

    def _view(self, path: str) -> lists.View:
        sim = self._sim
        collection = sim.tenant.collection(path)
        return lists.View(collection, self._quirk(path), sim.role.sees(path), sim.role.version)

    def _url(self, request: ReceivedRequest) -> str:
        return self._sim.url + request.path

    def _with_codebase(self, answer: Answer) -> Answer:
        """Links carry the codebase, so they all change on upgrade night."""
        now = f"/{self._sim.codebase.strip('/')}/".encode()
        if now != _SEEDED:
            answer.body = answer.body.replace(_SEEDED, now)
        return answer


def _cut_down(answer: Answer, asked: ListRequest) -> Answer:
    """The answer to a write with the fields that were asked for."""
    if asked.fields and answer.body:
        answer.body = as_json(prune(answers.from_json(answer.body), asked.fields)).body
    return answer
