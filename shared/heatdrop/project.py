"""Where the project's own files lie: the template, the functions, the bundled model and what is built."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "template.yaml"
MODEL_SOURCE = ROOT / "models" / "chest-xray"
BUILT_BUNDLE = ROOT / "build" / "bundles" / "chest-xray"
