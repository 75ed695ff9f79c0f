"""Writes the classifier of this folder as Keras 2 saves it: ``python make.py FOLDER``, with tf-keras 2.21."""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras import layers

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
tf_keras.utils.set_random_seed(3)
base_input = tf_keras.Input((6, 6, 4))
base = tf_keras.Model(base_input, layers.SeparableConv2D(4, 3, name="apart")(base_input), name="base")
picture = tf_keras.Input((12, 12, 3), name="picture")
x = picture / 127.5 - 1.0
x = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="first")(x)
x = layers.ReLU(6.0, name="relu6")(layers.BatchNormalization(name="normed")(x))
x = layers.DepthwiseConv2D(3, padding="same", name="depth")(x)
x = base(x + tf.nn.relu(x))
x = layers.GlobalAveragePooling2D()(x)
model = tf_keras.Model(picture, layers.Dense(3, activation="softmax", name="scores")(x))
random = np.random.default_rng(0)
model.get_layer("normed").set_weights([random.uniform(0.5, 2, 4) for _ in range(4)])
model.save(folder / "keras2.h5", include_optimizer=False)
model.save(folder / "saved_model", save_format="tf", include_optimizer=False)
images = np.random.default_rng(1).integers(0, 256, (2, 12, 12, 3)).astype(np.uint8)
np.savez(folder / "predictions.npz", images=images, scores=model.predict(images.astype(np.float32), verbose=0))
