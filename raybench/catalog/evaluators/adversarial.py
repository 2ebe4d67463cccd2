"""The evaluator `adversarial`: robust accuracy under gradient-based attacks."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

from raybench.catalog.evaluators.info import CurveInfo, EvaluatorInfo, EvaluatorSettings

AttackName = Literal["linf_pgd", "l2_pgd", "linf_fgsm", "l2_fgsm", "deepfool"]
NORMS: Mapping[str, Literal["linf", "l2"]] = {
    "linf_pgd": "linf",
    "linf_fgsm": "linf",
    "l2_pgd": "l2",
    "l2_fgsm": "l2",
    "deepfool": "l2",
}
"""Attack → norm in which its perturbation is measured."""


class AdversarialSettings(EvaluatorSettings):
    """Attacks, radii and number of steps. Pixels are in [0, 1]."""

    attacks: tuple[AttackName, ...] = ("linf_pgd",)
    """Attacks with a fixed step size give an upper bound of robust accuracy. `deepfool` has no radii: it
    minimises the perturbation."""
    linf_epsilons: tuple[str, ...] = ("0.25/255", "0.5/255", "1/255", "2/255", "4/255")
    """Radii of the L∞ ball, ascending, as numbers or fractions."""
    l2_epsilons: tuple[str, ...] = ("0.125", "0.25", "0.5", "1")
    """Radii of the L2 ball over all pixels and channels, ascending."""
    steps: int = 20
    rel_stepsize: float = 0.125
    """PGD step as a fraction of epsilon: 2.5 / steps as in Madry et al., enough to cross the ball."""
    restarts: int = 1
    random_start: bool = True
    apgd_steps: int = 0
    """Steps of APGD on cross-entropy, then on DLR, against images that survive all attacks of the same norm;
    AutoAttack takes 100. 0 is no APGD; with APGD the mean over radii is that of all attacks together."""
    num_examples: int | None = 1000
    """Number of attacked test images, selected by a hash of their ids and so equal for all backbones."""
    sanity_epsilon: str = "32/255"
    """L∞ radius at which accuracy must be near zero; if it is not, gradients are masked."""

    def __post_init__(self) -> None:
        if self.apgd_steps < 0:
            raise ValueError(f"apgd_steps must be at least 0, got {self.apgd_steps}")

    def as_dict(self) -> dict[str, Any]:
        """Setting → value, JSON-ready; APGD's are left out if it is off, as in earlier versions."""
        settings = super().as_dict()
        if not self.apgd_steps:
            del settings["apgd_steps"]
        return settings

    def radii(self, attack: str) -> tuple[tuple[str, float], ...]:
        """Radii of the attack as (text, number).

        >>> AdversarialSettings().radii("linf_pgd")[2]
        ('1/255', 0.00392156862745098)
        """
        texts = self.linf_epsilons if NORMS[attack] == "linf" else self.l2_epsilons
        return tuple((text, radius(text)) for text in texts)


def radius(text: str) -> float:
    """Read a number or a fraction: `0.25/255` → 0.00098…"""
    numerator, _, denominator = text.partition("/")
    return float(Fraction(numerator) / Fraction(denominator or "1"))


INFO = EvaluatorInfo(
    name="adversarial",
    entry_point="raybench.evaluation.adversarial:adversarial",
    needs="gradients",
    metrics=("robust_accuracy", "mean_robust_accuracy", "median_perturbation"),
    headline="mean_robust_accuracy",
    section="Adversarial robustness",
    settings=AdversarialSettings,
    presets={
        # The paper attacks with L∞ PGD at several radii but publishes no settings; between these radii
        # undefended ImageNet classifiers fall from their clean accuracy to about zero.
        "paper": AdversarialSettings(apgd_steps=100),
        "quick": AdversarialSettings(
            linf_epsilons=("0.5/255", "1/255", "2/255"), steps=10, rel_stepsize=0.25, num_examples=200
        ),
        "thorough": AdversarialSettings(
            attacks=("linf_pgd", "linf_fgsm", "l2_pgd", "deepfool"),
            steps=50,
            rel_stepsize=0.05,
            restarts=3,
            apgd_steps=100,
        ),
    },
    curves=(
        CurveInfo(
            name="robust_accuracy",
            title="Upper bounds of robust accuracy on a subset of test",
            x="epsilon",
            y="robust_accuracy",
            x_title="radius (pixels in [0, 1])",
            y_title="robust accuracy (upper bound)",
            series="attack",
            has_panel_per_series=True,
        ),
    ),
    doc="How much accuracy is left under gradient-based attacks of bounded size? Upper bounds: no attack "
    "finds every perturbation.",
)
