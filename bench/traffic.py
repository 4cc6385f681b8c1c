"""Mirrors a folder of real exports over HTTP and compares every figure with the tables of the folder's README.

    python bench/traffic.py FOLDER

FOLDER holds `<scope>-<day>[.<n>].<jsonl|csv>.gz` and a README.md with a table per scope whose first column is the day.
Each form is served alone. Exit 1 when a figure differs.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from syncd.sandbox.contentsquare import Sandbox  # noqa: E402  # found beside this folder
from tests.home import Home  # noqa: E402

# what each heading of the README's tables asks of a day's rows
ASKED = {
    "rows": "count(*)",
    "sum(user_id)": "sum(user_id)",
    "sum(session_id)": "sum(session_id)",
    "sum(session_duration_msec)": "sum(session_duration_msec)",
    "sum over bytes_sent[]": "sum(list_sum(CAST(bytes_sent AS HUGEINT[])))",
    "distinct user_agent": "count(DISTINCT user_agent)",
    "characters in user_agent": "sum(length(user_agent))",
    "max views": "max(session_number_of_views)",
    'sum("Bytes sent")': 'sum(CAST("Bytes sent" AS HUGEINT))',
    "distinct path": "count(DISTINCT path)",
    "characters in path+query+referer_url": "sum(length(path) + length(query) + length(referer_url))",
    "NULL view_duration_msec": "count(*) - count(view_duration_msec)",
    "sum(view_duration_msec)": "sum(view_duration_msec)",
    "user_id > 2^63-1": "count(*) FILTER (user_id > 9223372036854775807)",
}


def tables(readme: str) -> dict[str, tuple[list[str], dict[str, list[int]]]]:
    """The headings and figures of each table, by scope and day."""
    found: dict[str, tuple[list[str], dict[str, list[int]]]] = {}
    for line in readme.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| ") and not cells[0][:4].isdigit():
            scope = cells[0]
            found[scope] = (cells[1:], {})
        elif re.match(r"\| \d{4}-\d\d-\d\d \|", line):
            found[scope][1][cells[0]] = [int(cell) for cell in cells[1:]]
    return found


def main(folder: Path) -> int:
    wrong = compared = 0
    for form in ("jsonl", "csv"):
        with tempfile.TemporaryDirectory() as root, Sandbox(data=folder, format=form) as vendor:
            home = Home(Path(root), {"acme": vendor.settings()})
            home.once()
            for scope, (headings, days) in tables((folder / "README.md").read_text()).items():
                for day, figures in days.items():
                    for heading, told in zip(headings, figures, strict=True):
                        if form == "csv" and heading == "sum over bytes_sent[]":
                            continue  # undeclared arrays are text in CSV, and text is a right answer
                        ((seen,),) = home.query(
                            f"SELECT {ASKED[heading]} FROM acme.{scope} WHERE _syncd_date = DATE '{day}'"
                        )
                        compared += 1
                        if seen != told:
                            wrong += 1
                            print(f"{form} {scope} {day} {heading}: {seen}, not {told}")
    print(f"{compared} figures compared, {wrong} differ")
    return 1 if wrong or not compared else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
