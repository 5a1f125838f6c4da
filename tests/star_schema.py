"""The star schema in `sql/README.md`: diagrams of facts and dimensions, and lists of the views.

    python -m tests.star_schema

writes both anew, which a test asks for when the SQL has changed. They are made of what the files in
`sql/reporting` say. A column of a fact that is named like the key of a dimension leads to it, and
one that ends with `_date_id` leads to `dim_date`. The lists have the first sentence of each file.
"""

from __future__ import annotations

import re
from collections import Counter

from cw_pipeline.paths import ROOT
from cw_pipeline.reporting.foreign_keys import facts, keys
from cw_pipeline.reporting.script import scripts

README = ROOT / "sql" / "README.md"
BEGIN = "<!-- begin: python -m tests.star_schema -->\n"
LAYOUT = '%%{init: {"er": {"nodeSpacing": 28, "rankSpacing": 150, "entityPadding": 6}}}%%'
END = "<!-- end: python -m tests.star_schema -->\n"

SUBJECTS = {
    "Tickets": ("fct_ticket",),
    "SLA goals": ("fct_ticket_goal",),
    "Backlog, resources, time in status, surveys": (
        "fct_ticket_resource",
        "fct_ticket_daily",
        "fct_ticket_status_span",
        "fct_survey",
    ),
    "What has changed": ("fct_ticket_transition", "fct_change"),
    "Time, expenses and schedules": (
        "fct_time_entry",
        "fct_expense",
        "fct_member_day",
        "fct_schedule",
    ),
    "Agreements and recurring revenue": (
        "fct_addition",
        "fct_agreement_month",
        "fct_mrr_month",
    ),
    "Invoices and what is owed": ("fct_invoice", "fct_invoice_line", "fct_ar", "fct_ar_month"),
    "Sales": ("fct_opportunity", "fct_opportunity_forecast", "fct_activity"),
    "Projects and purchases": ("fct_project", "fct_product", "fct_purchase_order_line"),
}
"""Each fact with keys is in one diagram; one diagram of all cannot be read."""


def diagrams() -> str:
    """The diagrams in Markdown. Raises ValueError for a fact that no diagram shows."""
    placed = [fact for shown in SUBJECTS.values() for fact in shown]
    if missing := sorted(set(facts()) ^ set(placed)):
        raise ValueError(f"SUBJECTS does not have exactly the facts with keys: {missing}")
    return "\n".join(f"### {title}\n\n{_diagram(shown)}" for title, shown in SUBJECTS.items())


def _diagram(shown: tuple[str, ...]) -> str:
    """Facts in the middle; on the left the dimensions that several of them share."""
    used = Counter(dim for fact in shown for dim in set(keys(fact).values()))
    lines = []
    for fact in shown:
        for at, (dim, columns) in enumerate(sorted(_dimensions(fact).items())):
            on_the_left = used[dim] > 1 if len(shown) > 1 else at % 2 == 0
            line = f"{dim} ||--o{{ {fact}" if on_the_left else f"{fact} }}o--|| {dim}"
            lines.append(f'    {line} : "{", ".join(columns)}"')
    return "\n".join(["```mermaid", LAYOUT, "erDiagram", "    direction LR", *lines, "```", ""])


def _dimensions(fact: str) -> dict[str, list[str]]:
    """The dimensions of a fact, and the columns that lead to each."""
    columns: dict[str, list[str]] = {}
    for column, dim in sorted(keys(fact).items()):
        columns.setdefault(dim, []).append(column)
    return columns


def lists() -> str:
    """The facts and the key figures, with what a row of each is, in Markdown."""
    return f"{_list('Facts', 'fct_')}\n{_list('Key figures', 'kpi_')}"


def _list(title: str, prefix: str) -> str:
    shown = [
        f"| `{name}` | {re.split(r'[.?] ', comment)[0].rstrip('.')} |"
        for name, comment in sorted((script.name, script.comment) for script in scripts())
        if name.startswith(prefix) and not name.endswith("_all")
    ]
    return "\n".join([f"### {title}", "", "| view | grain |", "| --- | --- |", *shown, ""])


def written(text: str) -> str:
    """The text with the diagrams and lists of today between the two marks."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{README} lacks the marks between which the diagrams belong")
    return f"{before}{BEGIN}\n{diagrams()}\n{lists()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(written(README.read_text("utf-8")), "utf-8")
