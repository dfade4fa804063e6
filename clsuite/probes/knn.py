"""Weighted k-nearest-neighbor classification."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def weighted_knn(index: Tensor, labels: Tensor, queries: Tensor, k: int, temperature: float) -> Tensor:
    """Predict labels ``[Q]``: the k nearest neighbors by cosine vote with weight exp(cosine / temperature).

    Wu et al., "Unsupervised feature learning via non-parametric instance discrimination" (CVPR 2018), section 3.4.

    Args:
        index: Features ``[N, width]``.
        labels: Their labels ``[N]``.
        queries: Features ``[Q, width]``.
        k: Number of neighbors; all if there are fewer.
        temperature: Temperature of the weights.
    """
    index, queries = F.normalize(index, dim=1), F.normalize(queries, dim=1)
    cosine, nearest = (queries @ index.T).topk(min(k, len(index)), dim=1)
    votes = torch.zeros(len(queries), int(labels.max()) + 1, device=queries.device)
    highest = cosine.amax(dim=1, keepdim=True)  # its weight is 1, so that not all of them underflow
    votes.scatter_add_(1, labels[nearest], ((cosine - highest) / temperature).exp())
    return votes.argmax(dim=1)
