"""Classifiers of PyTorch libraries with random weights, exported to ONNX and explained by Captum; needs no TensorFlow.

    python -m heatdrop.bench.peers.torch_models FOLDER [NAME ...]

writes ``NAME.onnx`` (torch's old exporter), ``NAME.new.onnx`` (its new one) and ``NAME.npz`` for each model: ``image``
(C, H, W), ``outputs`` (classes,), ``classes`` (K,) and ``maps`` (K, H, W) for ``reference_noise``: the mean over the
samples of |gradient| of a class's output, and of that the maximum over the channels. The weights are random as the
libraries draw them, the normalisations uneven, as training leaves them.
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from heatdrop.bench.torch_reference import CLASSES, NOISE_LEVEL, reference_noise


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

    return _normalised(torchxrayvision.models.DenseNet(weights=None))


def _normalised(model: Any) -> Any:
    """With what torchxrayvision's published weights bring: thresholds by which the outputs are normalised."""
    outputs = model.classifier.out_features
    model.register_buffer("op_threshs", torch.linspace(0.3, 0.7, outputs))
    model.apply_sigmoid = True
    # An output that these weights do not know.
    model.op_threshs[1] = float("nan")
    return model


def _small_densenet() -> Any:
    from torchvision.models import DenseNet

    return DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, num_classes=3)


def _small_mobilenet() -> Any:
    from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3

    settings = [
        InvertedResidualConfig(8, 3, 16, 8, True, "RE", 1, 1, 1),
        InvertedResidualConfig(8, 5, 24, 12, True, "HS", 2, 1, 1),
    ]
    return MobileNetV3(settings, last_channel=24, num_classes=3)


def _small_convnext() -> Any:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=3, layer_scale=0.5)


def _small_vit() -> Any:
    from timm.models import VisionTransformer

    return VisionTransformer(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=3)


def _small_monai() -> Any:
    from monai.networks.nets import DenseNet

    return DenseNet(2, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2))


def _small_torchxrayvision() -> Any:
    import torchxrayvision

    settings = {"growth_rate": 4, "block_config": (2, 2), "num_init_features": 8, "num_classes": 18}
    return _normalised(torchxrayvision.models.DenseNet(weights=None, **settings))


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
    "small-torchvision-densenet": (_small_densenet, (3, 32, 32)),
    "small-torchvision-mobilenet": (_small_mobilenet, (3, 32, 48)),
    "small-torchvision-convnext": (_small_convnext, (3, 32, 32)),
    "small-timm-vit": (_small_vit, (3, 32, 32)),
    "small-monai-densenet": (_small_monai, (1, 32, 32)),
    "small-torchxrayvision-densenet": (_small_torchxrayvision, (1, 32, 32)),
}
"""How each is made, and (channels, height, width) of what it takes."""


_SCALES = {"torchxrayvision-densenet": 400, "small-torchxrayvision-densenet": 400}
"""The spread of a model's input, where it is not about 1."""


def make(name: str) -> Any:
    """The model of that name, with fixed random weights, ready to predict."""
    torch.manual_seed(7)
    build, shape = MODELS[name]
    model = build()
    normalisations = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for module in normalisations:
        torch.nn.init.normal_(module.weight, 1, 0.2)
        torch.nn.init.normal_(module.bias, 0, 0.2)
        module.momentum = 1.0
    if normalisations:
        # Their statistics are those of noise, as training would leave them: else deep networks hardly see their input.
        with torch.no_grad():
            model.train()(torch.randn(8, *shape) * _SCALES.get(name, 1))
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
    exported = onnx.load(file)
    for part in (exported.graph, *exported.graph.node, *exported.graph.input, *exported.graph.output):
        # Where in whose code each node comes from.
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    exported.ClearField("metadata_props")
    exported.graph.ClearField("value_info")
    onnx.save(exported, file)


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
    image = image * np.float32(_SCALES.get(name, 1))
    noise = reference_noise(shape)
    outputs = model(torch.from_numpy(image)[None])[0].numpy()
    classes = np.argsort(-outputs, kind="stable")[:CLASSES]
    maps = explain(model, image, noise, classes.tolist())
    np.savez_compressed(folder / f"{name}.npz", image=image, outputs=outputs, classes=classes, maps=maps)


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
