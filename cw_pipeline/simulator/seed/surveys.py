"""Surveys, their questions and what clients answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.simulator.seed.world import DAY, guid

if TYPE_CHECKING:
    from cw_pipeline.simulator.seed.world import World

SURVEYS = "/service/surveys"
_QUESTIONS = ("How was our service?", "Would you recommend us?")
_MOST = 5
_PLEASED = (1, 2, 5, 27, 65)  # how often each number of points is given


def make(world: World) -> None:
    """One survey, answered for every twelfth ticket."""
    record = {
        "id": 1,
        "name": "After service",
        "inactiveFlag": False,
        "headerIncludeLogoFlag": True,
        "headerText": "Thank you",
        "headerTextVisibleFlag": True,
        "footerText": "",
        "footerTextVisibleFlag": False,
        "thankYouText": "Merci !",
        "connectWiseId": guid(world.dice),
    }
    world.put(SURVEYS, record, world.start)
    for at, text in enumerate(_QUESTIONS, start=1):
        question = {
            "id": at,
            "sequenceNumber": at,
            "type": "Selection",
            "question": text,
            "includeFlag": True,
            "requiredFlag": at == 1,
            "noAnswerPoints": 0,
            "surveyId": 1,
        }
        world.put(f"{SURVEYS}/1/questions", question, world.start)
    for ticket in world.tickets[::12]:
        points = world.dice.choices(range(1, _MOST + 1), _PLEASED, k=len(_QUESTIONS))
        answered = world.when(ticket.last, ticket.last + 3 * DAY)
        result = {
            "id": world.next_id("results"),
            "ticketId": ticket.id,
            "emailAddress": "",
            "footerResponse": "Très bien" if points[0] == _MOST else "",
            "contactMeFlag": points[0] == 1,
            "contact": ticket.company.contacts[0].raw,
            "results": [
                {"id": at, "questionId": at, "question": text, "points": given}
                for at, (text, given) in enumerate(zip(_QUESTIONS, points, strict=True), start=1)
            ],
            "totalPoints": sum(points),
            "company": ticket.company.ref.raw,
            "surveyId": 1,
        }
        world.put(f"{SURVEYS}/1/results", result, min(answered, world.now))
