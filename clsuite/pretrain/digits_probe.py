"""Quality of features for handwriting: class means on the digits, which no recipe is trained on."""

from __future__ import annotations

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional as F

from clsuite.data.digits import digits_table


@torch.no_grad()
def class_mean_accuracy(model: VisionTransformer) -> float:
    """Accuracy of nearest class means (cosine, L2-normalized features) on the test part of the digits.

    Args:
        model: A ViT for images normalized with mean and standard deviation 0.5.
    """
    size = int(model.patch_embed.img_size[0])
    table = digits_table(size)
    was_training = model.training
    model.eval()
    images = (torch.from_numpy(table.images).float() / 255 - 0.5) / 0.5
    features = model.forward_head(model.forward_features(images.expand(-1, 3, -1, -1)), pre_logits=True)
    model.train(was_training)
    features = F.normalize(features, dim=1)
    labels, is_test = torch.from_numpy(table.labels), torch.from_numpy(table.is_test)
    means = torch.stack([features[(labels == label) & ~is_test].mean(dim=0) for label in range(len(table.classes))])
    predicted = (features[is_test] @ F.normalize(means, dim=1).T).argmax(dim=1)
    return float(np.mean((predicted == labels[is_test]).numpy()))
