"""Lines of `syncd probe` that a vendor's page names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

VENDORS = Path(__file__).parent.parent / "docs/vendors"


def unsaid(vendor: str, told: Iterable[str]) -> list[str]:
    """Those that no report has. A line that says of which files it is counts for all."""
    page = (VENDORS / f"{vendor}.md").read_text()
    (section,) = re.findall(r"^## What is unknown, .*?\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    cells = [row.split("|")[2] for row in section.splitlines() if row.startswith("| ")][1:]
    named = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)} - {"--provoke"}
    assert len(named) > 20
    return sorted(named - {re.sub(r" \([^)]*, [^)]*\)$", "", one) for one in told})
