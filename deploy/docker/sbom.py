"""Prints what is in an image's root, as CycloneDX 1.6: Debian's packages and Python's. Same root, same bytes.

Usage: sbom.py ROOT
"""

import json  # noqa: TID251  # runs on any Python, outside of syncd
import sys
from collections.abc import Iterator
from email.parser import Parser
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import quote


def debian(root: Path) -> Iterator[dict[str, object]]:
    """The packages that dpkg's status names."""
    for text in (root / "var/lib/dpkg/status").read_text().strip().split("\n\n"):
        package = Parser().parsestr(text, headersonly=True)
        name, version, architecture = package["Package"], package["Version"], package["Architecture"]
        yield component(name, version, f"pkg:deb/debian/{name}@{quote(version)}?arch={architecture}&distro=bookworm")


def python(root: Path) -> Iterator[dict[str, object]]:
    """The distributions under dist-packages, but for syncd itself."""
    for found in distributions(path=[str(root / "usr/local/lib/python3.11/dist-packages")]):
        name = found.metadata["Name"].lower().replace("_", "-")
        if name != "syncd":
            yield component(name, found.version, f"pkg:pypi/{name}@{quote(found.version)}")


def component(name: str, version: str, purl: str) -> dict[str, object]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def main(root: Path) -> None:
    library = root / "usr/local/lib/python3.11/dist-packages"
    (syncd,) = distributions(path=[str(library)], name="syncd")
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": "syncd", "name": "syncd", "version": syncd.version}
        },
        "components": sorted([*debian(root), *python(root)], key=lambda each: str(each["purl"])),
    }
    json.dump(document, sys.stdout, indent=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
