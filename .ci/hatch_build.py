"""Puts the compiled reader into the wheel, so that a machine without a compiler has it, too.

The wheel is then of this platform (`py3-none-linux_x86_64`). Without a C compiler it is a pure one.
"""

from __future__ import annotations

import importlib.util
import platform
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

READER = Path("cw_pipeline", "transform", "compiled_build.py")


class CompiledReaderHook(BuildHookInterface):
    """Called by hatchling (see pyproject.toml)."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Builds it: beside the code for an editable install, else for the wheel alone."""
        # By its path: the build's environment has none of the package's dependencies.
        spec = importlib.util.spec_from_file_location("compiled_build", Path(self.root, READER))
        assert spec is not None
        assert spec.loader is not None
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        # Deleted with the hook, when the wheel is written.
        self._scratch = tempfile.TemporaryDirectory()
        folder = build.BUILT if version == "editable" else Path(self._scratch.name)
        try:
            library = build.build_library(folder)
        except (build.BuildFailedError, OSError) as error:
            self.app.display_warning(f"No compiled reader in this wheel: {error}")
            return
        if version != "editable":
            inside = build.BUILT.relative_to(Path(self.root).resolve()) / library.name
            build_data["force_include"][str(library)] = str(inside)
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{_platform()}"


def _platform() -> str:
    """This platform's tag. A universal Python of macOS compiles for the machine that it runs on."""
    name = sysconfig.get_platform().replace("universal2", platform.machine())
    return name.replace("-", "_").replace(".", "_")
