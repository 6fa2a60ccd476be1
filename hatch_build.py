"""What a wheel and an sdist get beyond their sources: the name of the commit that they are of."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WHERE = {"wheel": "onearm", "sdist": "src/onearm"}


class Commit(BuildHookInterface[Any]):
    """Keeps the commit in a file, which an sdist hands on to the wheel that is built from it."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the file; an editable install asks git whenever it runs."""
        source = Path(self.root, "src", "onearm")
        spec = importlib.util.spec_from_file_location("version", source / "version.py")
        if version == "editable" or spec is None or spec.loader is None:
            return
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if (source / module.BUILD).exists():  # this is an unpacked sdist
            return
        self._folder = tempfile.TemporaryDirectory()
        kept = Path(self._folder.name, module.BUILD)
        kept.write_text(f"{module.described(Path(self.root))}\n", encoding="ascii")
        kept.chmod(0o644)
        build_data["force_include"][str(kept)] = f"{WHERE[self.target_name]}/{module.BUILD}"
