"""Packs the project's own files into the wheel; everything else stands in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# What the local cloud deploys, and the bundled model. In an installed package heatdrop.project finds them.
PROJECT_FILES = ("template.yaml", "functions", "layers", "models")
ROOT = Path(__file__).parent


class BuildWithProjectFiles(build_py):
    """Also copies the project's files to ``heatdrop/project_files``; an editable installation uses the checkout's."""

    def run(self) -> None:
        """Build the package, then add the files."""
        if self.editable_mode:
            super().run()
            return
        # setuptools reuses the folder of an earlier build, with modules that may have been deleted since.
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        target = Path(self.build_lib) / "heatdrop" / "project_files"
        target.mkdir()
        for name in PROJECT_FILES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target / name)


setup(cmdclass={"build_py": BuildWithProjectFiles})
