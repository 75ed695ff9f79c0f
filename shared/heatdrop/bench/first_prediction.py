"""Makes one prediction in a fresh process, with one of two engines; ``cold_start`` starts and times it.

Run as ``python -m heatdrop.bench.first_prediction litert|keras BUNDLE IMAGE``.
"""

import json
import resource
import sys
from pathlib import Path

from heatdrop import images
from heatdrop.model.bundle import Bundle, open_bundle
from heatdrop.vocabulary import Prediction


def by_litert(bundle: Bundle, image: images.DecodedImage) -> tuple[Prediction, ...]:
    """Predict with LiteRT, as the inference function does."""
    from heatdrop.model.classifier import Classifier

    return Classifier(bundle).classify(image)


def by_keras(bundle: Bundle, image: images.DecodedImage) -> tuple[Prediction, ...]:
    """Predict with TensorFlow and the .keras file, as most tutorials do."""
    from heatdrop.model.classifier import model_input, rank
    from heatdrop.model.loading import load_keras_model

    scores = load_keras_model(bundle).predict(model_input(image, bundle)[None], verbose=0)[0]
    return rank(bundle.labels, scores)


ENGINES = {"litert": by_litert, "keras": by_keras}


def peak_memory_mb() -> float:
    """This process's peak memory in MB; on Linux not by getrusage, which counts what came before the program too."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


def main(engine: str, folder: str, file: str) -> None:
    """Predict once; print the best class and the peak memory as JSON."""
    bundle = open_bundle(Path(folder))
    image = images.decode(Path(file).read_bytes(), at_least=bundle.size)
    best = ENGINES[engine](bundle, image)[0]
    print(json.dumps({"label": best.label, "score": best.score, "peak_mb": peak_memory_mb()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
