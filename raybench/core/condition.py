"""Conditions of measurements: clean images, an attack, a corruption, a shift."""

import re
from dataclasses import dataclass, field

from raybench.core.errors import UnknownNameError

_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Condition:
    """A kind with its settings. `str` gives the text that the measurement table holds; `parse` reads it.

    >>> str(Condition("fog", settings=(("severity", "3"),)))
    'fog(severity=3)'
    >>> str(Condition("shift", "imagenet_r"))
    'shift(imagenet_r)'
    >>> Condition.parse("linf_pgd(eps=8/255,steps=20)").settings
    (('eps', '8/255'), ('steps', '20'))
    """

    kind: str
    """`clean`, `fog`, `linf_pgd`, `shift`, `ood`, …"""
    subject: str = ""
    """Main argument, which has no name: e.g. the test set of a shift."""
    settings: tuple[tuple[str, str], ...] = field(default=())
    """(name, value) of every setting that affects the value, as text."""

    def __str__(self) -> str:
        inside = [self.subject] if self.subject else []
        inside += [f"{name}={value}" for name, value in self.settings]
        return f"{self.kind}({','.join(inside)})" if inside else self.kind

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Inverse of `str`. A subject may contain commas and parentheses.

        Raises:
            UnknownNameError: if the parenthesis is not closed.
        """
        kind, bracket, inside = text.partition("(")
        if not bracket:
            return cls(text)
        if not inside.endswith(")") or not kind:
            raise UnknownNameError(
                f"condition {text!r} is not of the form 'kind(subject,setting=value)'; write for example "
                "'fog(severity=3)'."
            )
        parts = inside[:-1].split(",")
        settings: list[tuple[str, str]] = []
        while parts:
            name, equals, value = parts[-1].partition("=")
            if not equals or not _SETTING.fullmatch(name):
                break
            settings.insert(0, (name, value))
            parts.pop()
        return cls(kind, ",".join(parts), tuple(settings))


CLEAN = Condition("clean")
