"""User-defined fields: their definitions, and the values records carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cw_pipeline.simulator.seed.world import DAY, guid, iso

if TYPE_CHECKING:
    from cw_pipeline.simulator.seed.world import World

_SCREENS = {
    "ticket": ("ticket_fields", 1),
    "company": ("company_fields", 2),
    "contact": ("contact_fields", 3),
    "agreement": ("agreement_fields", 4),
    "project": ("project_fields", 5),
    "opportunity": ("opportunity_fields", 6),
    "configuration": ("configuration_fields", 7),
    "time": ("time_fields", 8),
}
_FIELDS = (
    ("Asset Tag", "Text", "EntryField", 0),
    ("Seats", "Number", "EntryField", 2),
    ("VIP", "Checkbox", "EntryField", 0),
    ("Renewal", "Date", "EntryField", 0),
    ("Region", "Text", "List", 0),
)
_VARIANTS = 60


def make(world: World) -> None:
    """The definitions, and for each screen a stock of value sets to draw from."""
    for screen, (screen_id, pod) in _SCREENS.items():
        defined = [_define(world, screen_id, pod, place) for place in range(len(_FIELDS))]
        world.custom[screen] = [_values(world, defined) for _ in range(_VARIANTS)]


def _define(world: World, screen: str, pod: int, place: int) -> dict[str, Any]:
    caption, kind, method, decimals = _FIELDS[place]
    path = "/system/userDefinedFields"
    record = {
        "id": world.next_id(path, 11),
        "podId": pod,
        "podDescription": screen.replace("_", " ").title(),
        "caption": caption,
        "sequenceNumber": place + 1,
        "screenId": screen,
        "fieldTypeIdentifier": kind,
        "numberDecimals": decimals,
        "entryTypeIdentifier": method,
        "requiredFlag": False,
        "displayOnScreenFlag": True,
        "readOnlyFlag": False,
        "listViewFlag": place == 0,
        "businessUnitIds": [],
        "locationIds": [],
        "connectWiseID": guid(world.dice),
        "dateCreated": iso(world.start),
    }
    world.put(path, record, world.start)
    return {
        "id": record["id"],
        "caption": caption,
        "type": kind,
        "entryMethod": method,
        "numberOfDecimals": decimals,
        "connectWiseId": record["connectWiseID"],
    }


def _values(world: World, defined: list[dict[str, Any]]) -> msgspec.Raw:
    """Every defined field, the empty ones without `value`."""
    dice = world.dice
    drawn = (
        f"A-{dice.randint(100, 9999)}",
        dice.randint(0, 400) / 4,
        world.chance(0.5),
        iso(world.when() // DAY * DAY),
        dice.choice(("North", "South", "Île-de-France")),
    )
    given = [
        {**one, "value": value} if world.chance(0.4) else one
        for one, value in zip(defined, drawn, strict=True)
    ]
    return msgspec.Raw(msgspec.json.encode(given))
