"""The evaluator `adversarial`: how little must an image change for another answer?"""

from fractions import Fraction
from typing import Literal

from raybench.catalog.evaluators.info import EvaluatorInfo, EvaluatorSettings

AttackName = Literal["linf_pgd", "l2_pgd", "linf_fgsm", "l2_fgsm", "deepfool"]


class AdversarialSettings(EvaluatorSettings):
    """Which attacks, how far and how hard. Pixels are in [0, 1]."""

    attacks: tuple[AttackName, ...] = ("linf_pgd",)
    """The first one with radii gives the headline. `deepfool` looks for the smallest perturbation instead."""
    linf_epsilons: tuple[str, ...] = ("0.25/255", "0.5/255", "1/255", "2/255", "4/255")
    """Radii of the L∞ ball, ascending, as numbers or fractions."""
    l2_epsilons: tuple[str, ...] = ("0.125", "0.25", "0.5", "1")
    """Radii of the L2 ball over all pixels and channels, ascending."""
    steps: int = 20
    rel_stepsize: float = 0.125
    """Length of a PGD step as a share of epsilon: 2.5 / steps, Madry's, which can cross the ball."""
    restarts: int = 1
    random_start: bool = True
    num_examples: int | None = 1000
    """Test images that are attacked, the same for every backbone (by a hash of their ids); None: all."""
    sanity_epsilon: str = "32/255"
    """L∞ radius at which a model without masked gradients recognises next to nothing."""

    def radii(self, attack: str) -> tuple[tuple[str, float], ...]:
        """(As written, as a number) of the attack's radii.

        >>> AdversarialSettings().radii("linf_pgd")[2]
        ('1/255', 0.00392156862745098)
        """
        written = self.linf_epsilons if attack.startswith("linf") else self.l2_epsilons
        return tuple((text, radius(text)) for text in written)


def radius(text: str) -> float:
    """A number or a fraction, `0.25/255` → 0.00098…"""
    numerator, _, denominator = text.partition("/")
    return float(Fraction(numerator) / Fraction(denominator or "1"))


INFO = EvaluatorInfo(
    name="adversarial",
    entry_point="raybench.evaluation.adversarial:adversarial",
    needs="gradients",
    metrics=("robust_accuracy", "mean_robust_accuracy", "median_perturbation"),
    headline="mean_robust_accuracy",
    settings=AdversarialSettings,
    presets={
        # The paper attacks with L∞ PGD at several radii but publishes no settings (bob/inventory): these are
        # radii between which undefended ImageNet classifiers fall from their clean accuracy to about zero.
        "paper": AdversarialSettings(),
        "quick": AdversarialSettings(
            linf_epsilons=("0.5/255", "1/255", "2/255"), steps=10, rel_stepsize=0.25, num_examples=200
        ),
        "thorough": AdversarialSettings(
            attacks=("linf_pgd", "linf_fgsm", "l2_pgd", "deepfool"), steps=50, rel_stepsize=0.05, restarts=3
        ),
    },
    doc="How small a change of an image, looked for along gradients, makes the classifier answer otherwise?",
)
