"""Classifiers of PyTorch libraries with random weights, exported to ONNX and explained by Captum; needs no TensorFlow.

    python -m heatdrop.bench.peers.torch_models FOLDER [NAME ...]

writes ``NAME.onnx`` (torch's old exporter), ``NAME.new.onnx`` (its new one) and ``NAME.npz`` for each model: ``image``
(C, H, W), ``noise`` (samples, C, H, W) standard normals, ``outputs`` (classes,), ``classes`` (K,) and ``maps``
(K, H, W): the mean over the samples of |gradient| of a class's output, and of that the maximum over the channels. The
weights are random as the libraries draw them, the normalisations uneven, as training leaves them.
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

SAMPLES, NOISE_LEVEL, CLASSES = 8, 0.2, 2


def _torchvision(name: str) -> Callable[[], Any]:
    def make() -> Any:
        import torchvision

        return getattr(torchvision.models, name)(weights=None)

    return make


def _timm(name: str) -> Callable[[], Any]:
    def make() -> Any:
        import timm

        return timm.create_model(name, pretrained=False)

    return make


def _monai() -> Any:
    from monai.networks.nets import DenseNet121

    return DenseNet121(spatial_dims=2, in_channels=1, out_channels=4)


def _torchxrayvision() -> Any:
    import torchxrayvision

    model = torchxrayvision.models.DenseNet(weights=None)
    # What its published weights bring: the thresholds of operation by which its outputs are normalised.
    model.register_buffer("op_threshs", torch.linspace(0.3, 0.7, 18))
    model.apply_sigmoid = True
    return model


MODELS: dict[str, tuple[Callable[[], Any], tuple[int, int, int]]] = {
    "torchvision-densenet121": (_torchvision("densenet121"), (3, 64, 64)),
    "torchvision-resnet50": (_torchvision("resnet50"), (3, 64, 64)),
    "torchvision-efficientnet_b0": (_torchvision("efficientnet_b0"), (3, 64, 64)),
    "torchvision-mobilenet_v3_small": (_torchvision("mobilenet_v3_small"), (3, 64, 64)),
    "torchvision-convnext_tiny": (_torchvision("convnext_tiny"), (3, 64, 64)),
    "timm-resnet18": (_timm("resnet18"), (3, 64, 96)),
    "timm-efficientnet_lite0": (_timm("efficientnet_lite0"), (3, 64, 64)),
    "timm-vit_tiny": (_timm("vit_tiny_patch16_224"), (3, 224, 224)),
    "monai-densenet121": (_monai, (1, 64, 64)),
    "torchxrayvision-densenet": (_torchxrayvision, (1, 224, 224)),
}
"""How each is made, and (channels, height, width) of what it takes."""


def make(name: str) -> Any:
    """The model of that name, with fixed random weights, ready to predict."""
    torch.manual_seed(7)
    model = MODELS[name][0]()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1, 0.2)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval().requires_grad_(False)


def export(model: Any, shape: tuple[int, int, int], file: Path, *, new: bool) -> None:
    """Export to ONNX, in one file, with torch's new exporter or its old one."""
    torch.onnx.export(
        model,
        (torch.zeros(1, *shape),),
        str(file),
        dynamo=new,
        **({"external_data": False} if new else {"opset_version": 17}),
    )


def explain(model: Any, image: Any, noise: Any, classes: list[int]) -> Any:
    """The maps (K, H, W) that Captum makes of an image (C, H, W) with this noise."""
    from unittest import mock

    from captum.attr import NoiseTunnel, Saliency

    sigma = NOISE_LEVEL * float(image.max() - image.min())
    given = []
    maps = []
    for index in classes:
        given = list(noise)

        def normal(mean: Any, deviation: Any, given: Any = given) -> Any:
            return deviation * torch.from_numpy(np.stack([given.pop(0) for _ in range(len(deviation))]))

        with mock.patch("torch.normal", normal):
            found = NoiseTunnel(Saliency(model)).attribute(
                torch.from_numpy(image)[None],
                nt_samples=len(noise),
                nt_samples_batch_size=len(noise),
                stdevs=sigma,
                target=index,
            )
        maps.append(found[0].numpy().max(axis=0))
    return np.stack(maps)


def write(name: str, folder: Path) -> None:
    """Write the files of one model."""
    model, shape = make(name), MODELS[name][1]
    export(model, shape, folder / f"{name}.onnx", new=False)
    export(model, shape, folder / f"{name}.new.onnx", new=True)
    random = np.random.Generator(np.random.Philox(key=23))
    # Smooth like a photograph, so that the noise stands out from it.
    coarse = torch.from_numpy(random.standard_normal((1, shape[0], 8, 8), np.float32))
    image = torch.nn.functional.interpolate(coarse, shape[1:], mode="bilinear")[0].numpy()
    if name.startswith("torchxrayvision"):
        image = image * 400
    noise = random.standard_normal((SAMPLES, *shape), np.float32)
    outputs = model(torch.from_numpy(image)[None])[0].numpy()
    classes = np.argsort(-outputs, kind="stable")[:CLASSES]
    maps = explain(model, image, noise, classes.tolist())
    np.savez(folder / f"{name}.npz", image=image, noise=noise, outputs=outputs, classes=classes, maps=maps)


def main() -> None:
    """Write the files of the models that are named, or of all."""
    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(MODELS)
    folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    for name in names:
        write(name, folder)
        print(f"{name} is written", flush=True)


if __name__ == "__main__":
    main()
