"""The vendor's OpenAPI document in, the facts the catalog is built on out.

Facts only: which lists there are, how they may be asked, and the fields of what they return.
The vendor publishes the document to its developer network; a cut or a reconstruction of it
has the same form. No descriptions, no examples.
"""

from __future__ import annotations

import gzip
import json
import re
from typing import TYPE_CHECKING, Any

from cw_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]

_PLACEHOLDER = re.compile(r"\{[^}]*\}")
_SCALARS = {"integer": "int", "number": "number", "boolean": "boolean"}


def write_facts(source: Path, target: Path) -> Json:
    """Reads an OpenAPI file (.json or .json.gz) and writes its facts. Raises ConfigError.

    Returns what it wrote. The same document always makes the same bytes.
    """
    facts = build_facts(_document(source))
    target.write_text(facts_as_json(facts), encoding="utf-8")
    return facts


def build_facts(document: Json) -> Json:
    """`lists`: path → how it may be asked; `models`: name → its fields' types.

    A list says its `kind` (entity, link, info, usages, singleton), its `model`, its `parent` list,
    and which twins it has: `count`, `search`, `byId`. Models are those an entity's records hold.
    """
    if "paths" not in document:
        raise ConfigError("not an OpenAPI document: it has no paths")
    types = _Types(document)
    paths = document["paths"]
    answers = {p: types.answer(paths[p]["get"]) for p in sorted(paths) if "get" in paths[p]}
    lists: Json = {}
    twins = {_shape(path) for path, answer in answers.items() if not _is_list(path, answer)}
    twins |= {_shape(path) for path in paths if path.endswith("/search") and "post" in paths[path]}
    for path, answer in answers.items():
        if fact := _list_fact(path, answer, twins):
            lists.setdefault(_normalize_path(path), fact)
    _add_parents(lists)
    kept = [fact for fact in lists.values() if fact["kind"] == "entity" and "model" in fact]
    return {
        "lists": dict(sorted(lists.items())),
        "models": types.reachable([fact["model"] for fact in kept]),
    }


class _Types:
    """The document's schemas, reduced to one word per field."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._inline: Json = {}

    def answer(self, operation: Json) -> str | None:
        """The type of a good answer's body; None where the document does not say."""
        responses = operation.get("responses", {})
        good = responses.get("200") or responses.get("2XX") or responses.get("default") or {}
        for media, content in self._resolve(good).get("content", {}).items():
            if "json" in media and content.get("schema"):
                return self.word(content["schema"], "answer")
        return None

    def word(self, schema: Json, place: str) -> str:
        """`int`, `string`, `date-time`, `map`, …; `@Model` for an object, `[…]` for an array."""
        name, schema = self._unwrap(schema)
        kind = schema.get("type")
        if isinstance(kind, list):  # OpenAPI 3.1 writes nullable this way
            kind = next((one for one in kind if one != "null"), None)
        if self._fields_of(schema):
            return f"@{name or self._name_inline(place, schema)}"
        if kind == "array":
            return f"[{self.word(schema.get('items', {}), place)}]"
        if kind == "object":
            return "map" if "additionalProperties" in schema else "any"
        if kind == "string" or "enum" in schema:
            return str(schema.get("format")) if schema.get("format") in _DATES else "string"
        return _SCALARS.get(str(kind), "any")

    def reachable(self, roots: list[str]) -> Json:
        """The fields of these models and of every model their fields lead to, by name."""
        found: Json = {}
        waiting = list(roots)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            fields = self._fields_of(self._model(name))
            words = {key: self.word(schema, f"{name}.{key}") for key, schema in fields.items()}
            found[name] = words
            waiting += [model for word in words.values() if (model := model_of(word))]
        return dict(sorted(found.items()))

    def _model(self, name: str) -> Json:
        schemas: Json = self._document["components"]["schemas"]
        model: Json = self._inline[name] if name in self._inline else schemas[name]
        return model

    def _name_inline(self, place: str, schema: Json) -> str:
        self._inline[place] = schema
        return place

    def _unwrap(self, schema: Json) -> tuple[str | None, Json]:
        """The schema behind references and one-armed allOf, oneOf and anyOf, and its name."""
        name = None
        while True:
            arms = next((schema[key] for key in _ARMS if len(schema.get(key, ())) == 1), None)
            if "$ref" in schema:
                name = schema["$ref"].rsplit("/", 1)[-1]
                schema = self._resolve(schema)
            elif arms and "properties" not in schema:
                schema = arms[0]
            else:
                return name, schema

    def _fields_of(self, schema: Json) -> Json:
        """The declared fields of an object, those it takes over by allOf first."""
        schema = self._resolve(schema)
        fields: Json = {}
        for arm in schema.get("allOf", ()):
            fields |= self._fields_of(arm)
        fields |= schema.get("properties", {})
        return fields

    def _resolve(self, node: Json) -> Json:
        while "$ref" in node:
            reference: str = node["$ref"]
            node = self._document
            for step in reference.removeprefix("#/").split("/"):
                found: Json = node[step]
                node = found
        return node


_DATES = ("date-time", "date")
_ARMS = ("allOf", "oneOf", "anyOf")


def model_of(word: str) -> str | None:
    """The model that a field's type leads to: `@Board` and `[@Board]` → `Board`."""
    bare = word.strip("[]")
    return bare[1:] if bare.startswith("@") else None


def _list_fact(path: str, answer: str | None, twins: set[str]) -> Json | None:
    shape, model = _shape(path), model_of(answer or "")
    if "count" in shape.split("/"):
        return None
    if not _is_list(path, answer):
        return None if "{" in path else _fact(kind="singleton", model=model)
    by_id = f"{shape}/{{}}" in twins
    return _fact(
        kind=_kind(path, model, by_id=by_id),
        model=model,
        count=f"{shape}/count" in twins,
        search=f"{shape}/search" in twins,
        byId=by_id,
    )


def _is_list(path: str, answer: str | None) -> bool:
    # A few lists of newer versions are known by their path only; a plural is taken for a list.
    return answer.startswith("[") if answer else path.rstrip("/").endswith("s")


def _kind(path: str, model: str | None, *, by_id: bool) -> str:
    steps = path.strip("/").split("/")
    if "usages" in steps:
        return "usages"
    if "info" in steps:
        return "info"
    return "link" if model and model.endswith("Reference") and not by_id else "entity"


def _fact(**facts: object) -> Json:
    """Only what is so: a twin that does not exist is not mentioned."""
    return {key: value for key, value in facts.items() if value}


def _add_parents(lists: Json) -> None:
    """A child's parent is the list at the path before its last placeholder, however capitalised."""
    entities = {_shape(path): path for path, fact in lists.items() if fact["kind"] == "entity"}
    for path, fact in lists.items():
        before, placeholder, _ = path.rpartition("/{parentId}")
        if placeholder and _shape(before) in entities:
            fact["parent"] = entities[_shape(before)]


def _normalize_path(path: str) -> str:
    """The path with its placeholders called by what they hold, the last one `{parentId}`."""
    many = len(_PLACEHOLDER.findall(path)) > 1
    names = iter(("{grandparentId}", "{parentId}") if many else ("{parentId}",))
    return _PLACEHOLDER.sub(lambda match: next(names, match.group()), path)


def _shape(path: str) -> str:
    """What two spellings of a path have in common: the vendor mixes case and trailing slashes."""
    return _PLACEHOLDER.sub("{}", path).rstrip("/").lower()


def _document(source: Path) -> Json:
    try:
        content = source.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        document = json.loads(content)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source} cannot be read as an OpenAPI file: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{source} is not an OpenAPI document")
    return document


def facts_as_json(facts: Json) -> str:
    """The facts as JSON, one list or model to a line: a diff shows which of them changed."""
    sections = []
    for section, members in facts.items():
        lines = (f"{json.dumps(name)}: {json.dumps(fact)}" for name, fact in members.items())
        sections.append(f'"{section}": {{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(sections) + "\n}\n"
