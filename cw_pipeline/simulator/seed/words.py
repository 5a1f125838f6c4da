"""The words seeded records are made of."""

from __future__ import annotations


def split_words(text: str, by: str | None = None) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split(by))


FIRST = split_words(
    "Maria Jürgen Sofía Liam Noah Emma Olivia Zoë Lucas Mia Ethan Priya Wei Ahmed Chloé Daniel "
    "Sarah Thomas Ingrid Łukasz Aiko Søren Fatima Björn Nadia Oscar Ruth Pavel Grace Hugo"
)
LAST = split_words(
    "Kegel Johnson Müller García Smith Brown Williams Nguyen Patel Khan Chen López Wilson Clark "
    "Lewis Young Hall O'Brien Ångström Novák Kowalski Yamada Rossi Dubois Silva Petrov Haddad"
)
TRADES = split_words(
    "Dental Logistics Bakery Partners Law Architects Foods Robotics Clinic Motors Print Media "
    "Insurance Farms Plastics Textiles Energy Schools Realty Brewing"
)
CITIES = ("Tampa", "Austin", "Zürich", "Leeds", "Montréal", "Perth", "São Paulo", "Bergen")
STREETS = ("Main St", "Harbour Rd", "Elm Ave", "Königsallee", "2nd Ave N", "Mill Lane")
THINGS = split_words(
    "printer|mailbox|VPN|laptop|server|backup job|firewall|Wi-Fi|password|Teams|phone|licence|"
    "shared drive|monitor|domain certificate|antivirus|scanner|database",
    "|",
)
TROUBLES = split_words(
    "cannot connect|is slow|needs replacing|failed overnight|shows an error|is full|has expired|"
    "keeps disconnecting|new user setup|quote wanted|stopped after update|access request",
    "|",
)
NOTES = (
    "Rebooted and watched for an hour; stable.",
    "Called the client, left a voicemail.",
    "Remote session; replaced the driver.\nWaiting for confirmation.",
    "Escalated to the network team — see attached.",
    "Client confirmed that it works. Closing.",
    "Größe der Mailbox erhöht, Nutzer informiert ✓",
    "",
)
PRODUCTS = split_words(
    "Firewall 60F|Laptop 14in|Docking Station|Microsoft 365 Business|Backup per Server|"
    "Managed Workstation|Managed Server|Antivirus Seat|Access Point|UPS 1500|Switch 24p|"
    "Onboarding Fee|SSL Certificate|Phone Handset|Monitor 27in|Cabling",
    "|",
)
