"""The output folder of a run: ``results.jsonl`` and a folder of heatmaps for each image."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from heatdrop.errors import InvalidRequest
from heatdrop.vocabulary import HeatmapFiles, Result

RESULTS = "results.jsonl"


class OutputFolder:
    """The folder for a run's results. Nothing is ever written outside ``root``."""

    def __init__(self, root: Path) -> None:
        """Make the folder.

        Raises:
            InvalidRequest: it cannot be made.
        """
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidRequest(f"the output folder {root} cannot be made: {error.strerror}") from error

    def save_heatmap(self, file: str, image_id: str, label: str, contents: Iterable[tuple[str, bytes]]) -> HeatmapFiles:
        """Write the overlay, figure, maps and DICOM (if any) of one class; returns their paths relative to ``root``."""
        return HeatmapFiles.of(label, self.save(file, image_id, contents))

    def save(self, file: str, image_id: str, contents: Iterable[tuple[str, bytes]]) -> list[str]:
        """Write the files of an image, without the folders in their names; returns their paths relative to ``root``."""
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(file).stem).strip("-.")[:60] or "image"
        folder = self.root / "heatmaps" / f"{stem}-{image_id[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name, content in contents:
            path = folder / Path(name).name
            path.write_bytes(content)
            paths.append(path.relative_to(self.root).as_posix())
        return paths

    def saved(self, results: Iterable[Result]) -> Iterator[Result]:
        """Pass the results on, and write each as a line of ``results.jsonl`` when it is taken."""
        with (self.root / RESULTS).open("w", encoding="utf-8") as lines:
            for result in results:
                lines.write(result.model_dump_json() + "\n")
                lines.flush()
                yield result

    def save_results(self, results: Iterable[Result]) -> Path:
        """Write ``results.jsonl`` at once."""
        for _ in self.saved(results):
            pass
        return self.root / RESULTS
