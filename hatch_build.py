"""Compiles the reader in C into the wheel, or beside its sources when syncd is installed editable.

Without a compiler syncd is built all the same, and reads with pyarrow alone.
"""

from __future__ import annotations

import runpy
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledReader(BuildHookInterface):  # type: ignore[misc]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        compiled = runpy.run_path(str(Path(self.root, "syncd/parse/compiled.py")))
        try:
            compiled["build"]()
        except (OSError, subprocess.CalledProcessError) as error:
            self.app.display_warning(f"syncd is built without its compiled reader, it will be slower: {error}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"], build_data["tag"] = False, f"py3-none-{platform}"
        build_data["artifacts"].append("/" + compiled["LIBRARY"].relative_to(self.root).as_posix())
