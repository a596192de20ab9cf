"""The training steps that are compared.

  A  small crystal CNN (4 convolutions, 2 dense), 64x64, 7 classes, dropout, Adam    E  U-Net, base 64, four levels, 512x512, 2 classes a pixel, Adam
  B  ResNet-18, 128x128, 14 classes, SGD with momentum                              F  ResNet-50, 224x224, 1000 classes, SGD with momentum, batch 32
  C  784-64-64-1, mean squared error, Adam                                   resnet50  the same at batch 256
  D  LSTM, 2 x 128 units, 128 steps of 8 features, last step, 1 value, Adam
  ebsdnet   Jha et al. 2018, 60x60, 3 values, Adam                           unet2048  U-Net, 2048x2048, 16-bit images, batch 2
"""
ADAM = {"optimizer": "adam", "learning_rate": 1e-3}
SLOW_ADAM = {"optimizer": "adam", "learning_rate": 1e-4}
SGD = {"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 1e-4}


def images(model, size, outputs, batch, optimizer, **more):
    return {"model": model, "input": [size, size, 1], "outputs": outputs, "batch": batch, "loss": "softmax_cross_entropy", **optimizer, **more}


SIXTEEN_BIT = {"dtype": "uint16", "mean": 16384.0, "scale": 1 / 9459.0}  # 15-bit values, uniform: standardised
WORKLOADS = {
    "A": images("crystal_a", 64, 7, 64, ADAM),
    "B": images("resnet18", 128, 14, 16, SGD),
    "C": {"model": "mlp", "input": [784], "outputs": 1, "hidden": [64, 64], "batch": 32, "loss": "mean_squared_error", **ADAM},
    "D": {"model": "lstm", "input": [128, 8], "outputs": 1, "hidden": [128, 128], "batch": 64, "loss": "mean_squared_error", **ADAM},
    "E": images("unet", 512, 2, 8, SLOW_ADAM, pixels=True),
    "F": images("resnet50", 224, 1000, 32, SGD),
    "resnet50": images("resnet50", 224, 1000, 256, SGD),
    "ebsdnet": images("ebsdnet", 60, 3, 64, SLOW_ADAM, loss="mean_squared_error"),
    "unet2048": images("unet", 2048, 2, 2, SLOW_ADAM, pixels=True, **SIXTEEN_BIT),
}
# For rehearsals on a CPU: the same networks, small.
SMALL = {
    "A": {"batch": 8},
    "B": {"input": [64, 64, 1], "batch": 4},
    "D": {"input": [16, 8], "batch": 8},
    "E": {"input": [32, 32, 1], "batch": 2, "width": 8},
    "F": {"input": [64, 64, 1], "batch": 4, "outputs": 10},
    "resnet50": {"input": [32, 32, 1], "batch": 2, "outputs": 10},
    "ebsdnet": {"input": [8, 8, 1], "batch": 4},
    "unet2048": {"input": [64, 64, 1], "batch": 1, "width": 8},
}
# The losses of the largest are compared on less, so that fp64 fits.
CHECK = {"resnet50": {"batch": 32}, "unet2048": {"input": [512, 512, 1], "batch": 1}}
DEFAULTS = {"dtype": "fp32", "batches": 4, "pixels": False}


def specification(name, size, check=False):
    if name not in WORKLOADS:
        raise SystemExit(f"unknown workload {name}: one of {', '.join(WORKLOADS)}")
    changes = SMALL.get(name, {}) if size == "small" else CHECK.get(name, {}) if check else {}
    return {"workload": name, **DEFAULTS, **WORKLOADS[name], **changes}
