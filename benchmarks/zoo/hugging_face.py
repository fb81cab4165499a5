"""Image classifiers of Hugging Face, small, from configurations: nothing is downloaded."""

from typing import Any

from torch import nn

VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "patch_size": 8,
    "image_size": 32,
}
SWIN = {"embed_dim": 8, "depths": [1, 2], "num_heads": [1, 2], "window_size": 2, "patch_size": 4, "image_size": 32}
CLIP = {"vision_config": VIT}
PYRAMID = (
    64,
    {"image_size": 64, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 2], "num_attention_heads": [1, 2, 3, 4]},
)
CONFIGS: dict[str, tuple[int, dict[str, Any]]] = {  # side of the images, and options
    "Beit": (32, VIT),
    "Bit": (64, {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "num_groups": 4}),
    "CLIP": (32, CLIP),
    "ConvNext": (64, {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 2, 1]}),
    "ConvNextV2": (64, {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 2, 1]}),
    "Cvt": (
        64,
        {"embed_dim": [8, 16, 32], "num_heads": [1, 2, 4], "depth": [1, 2, 3], "cls_token": [False, False, True]},
    ),
    "Data2VecVision": (32, VIT),
    "DeiT": (32, VIT),
    "Dinov2": (32, VIT),
    "Dinov2WithRegisters": (32, VIT),
    "DonutSwin": (32, SWIN),
    "EfficientNet": (
        64,
        {"width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
    ),
    "FocalNet": (32, {"embed_dim": 8, "depths": [1, 2], "focal_levels": [1, 1], "focal_windows": [3, 3]}),
    "HGNetV2": (64, {}),
    "Hiera": (224, {"embed_dim": 8, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8]}),
    "IJepa": (32, VIT),
    "Levit": (
        64,
        {"image_size": 64, "hidden_sizes": [16, 32, 48], "num_attention_heads": [2, 3, 4], "depths": [1, 1, 1]},
    ),
    "MobileNetV1": (64, {"depth_multiplier": 0.25}),
    "MobileNetV2": (64, {"depth_multiplier": 0.35}),
    "MobileViT": (
        64,
        {"image_size": 64, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24, 32, 64]},
    ),
    "MobileViTV2": (64, {"image_size": 64, "width_multiplier": 0.25}),
    "PoolFormer": (64, {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}),
    "Pvt": PYRAMID,
    "PvtV2": PYRAMID,
    "RegNet": (64, {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "groups_width": 4}),
    "ResNet": (64, {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "layer_type": "basic"}),
    "Segformer": (64, {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 2], "num_attention_heads": [1, 2, 3, 4]}),
    "Siglip": (32, CLIP),
    "SwiftFormer": (64, {"image_size": 64}),
    "Swin": (32, SWIN),
    "Swinv2": (32, SWIN),
    "ViT": (32, VIT),
    "ViTMSN": (32, VIT),
}


def hugging_face(name: str, classes: int) -> nn.Module:
    """A classifier with random weights."""
    import transformers

    options = dict(CONFIGS[name][1])
    config = getattr(transformers, f"{name}Config")(num_labels=classes, **options)
    if hasattr(config, "initializer_range"):
        config.initializer_range = 0.2  # deep ones of 0.02 say the same of all images, to the last bit
    model: nn.Module = getattr(transformers, f"{name}ForImageClassification")(config)
    return model
