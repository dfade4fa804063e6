"""Streaming linear discriminant analysis on frozen features (SLDA), and the classifier of first-session adaptation."""

from __future__ import annotations

from typing import Literal

from clsuite.plugin import Traits, UserError
from clsuite.plugin.helpers import DiscriminantPlugin


class LDA(DiscriminantPlugin):
    """Classifies frozen features by class means and one shrunk covariance that all classes share.

    Class means and the covariance are kept as running sums. With the precision ``L``, the inverse of the shrunk
    covariance, the score of a class with mean m is ``(L m)' f - m' L m / 2``. Features and means are centered on the
    mean of all images, which changes no prediction and keeps the numbers small. An image that occurs again does not
    count again. The classifier is solved in double precision. The arguments select one of these methods:

    * Hayes & Kanan, "Lifelong machine learning with deep streaming linear discriminant analysis" (CVPR-W 2020), section
      3 (SLDA): ``shrinkage: 1e-4, base: true`` with the other defaults. The first task is the base task: the authors
      estimate its covariance by OAS, which counts with its number of images in the running average from then on, so
      that the covariance of few images is never inverted. Without it (``base: false``) the method fails where there are
      about as many images as features. The authors update the covariance with each sample's distance to its class mean
      so far. Here it is the covariance around the final means, which the sums give exactly, so that the order of
      samples and of tasks after the base task does not matter.
    * The default, ``shrinkage: null``: the covariance within classes is shrunk by OAS (Chen et al., "Shrinkage
      algorithms for MMSE covariance estimation", 2010, equation 23), estimated on all images so far and not on a base
      task only.
    * Panos et al., "First session adaptation" (ICCV 2023), section 3: ``covariance: total, target: added, shrinkage:
      1``, the covariance around the mean of all images plus the identity. The authors' method is
      ``[first_session, lda]`` with these arguments, and with the whole backbone tuned in the first session.

    If no class varies (one image of each, or equal ones), the identity is used as the covariance, which gives the
    nearest class mean.

    Args:
        shrinkage: Weight of the target in the covariance (Hayes & Kanan: 1e-4; Panos et al.: 1, added); null estimates
            it by OAS.
        target: What the covariance is shrunk to. ``identity`` (Hayes & Kanan). ``variance``: the identity times the
            mean variance, so that the scale of the features does not matter; OAS always uses this one. ``added``: the
            identity, times the shrinkage, is added to the unchanged covariance (Panos et al.).
        priors: Class priors: ``equal`` (as in all these methods), or ``counts``, each class's share of the images seen.
        covariance: ``within`` classes, divided by the number of images, or ``total``, around the mean of all images and
            divided by that number less one (Panos et al.).
        base: Whether the first task is a base task, whose covariance is shrunk by OAS before it is added to the sums
            (Hayes & Kanan); only for a covariance within classes, with a shrinkage that is given.
    """

    traits = Traits(memory=("statistics",), gradient_free=True, scores="logits", paper="Hayes, CVPR-W 2020 (SLDA)")

    def __init__(
        self,
        shrinkage: float | None = None,
        target: Literal["identity", "variance", "added"] = "identity",
        priors: Literal["equal", "counts"] = "equal",
        covariance: Literal["within", "total"] = "within",
        base: bool = False,
    ) -> None:
        super().__init__()
        if shrinkage is not None and not 0 < shrinkage <= 1:
            raise UserError(f"lda: shrinkage is {shrinkage}, but must be above 0 and at most 1, or null")
        if shrinkage is None and target == "added":
            raise UserError("lda: target is 'added', so that shrinkage must say how much of it (Panos et al.: 1)")
        if base and (shrinkage is None or covariance == "total"):
            raise UserError("lda: a base task needs a shrinkage (Hayes & Kanan: 1e-4) and covariance 'within'")
        self.shrinkage, self.target, self.priors, self.around = shrinkage, target, priors, covariance
        self.base = base
