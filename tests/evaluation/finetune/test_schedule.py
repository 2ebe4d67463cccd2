import numpy as np

from raybench.evaluation.finetune.schedule import lr_factor


def test_the_rate_warms_up_then_falls_to_zero():
    rates = [lr_factor(p) for p in np.linspace(0.001, 0.999, 101)]
    peak = int(np.argmax(rates))
    assert 8 <= peak <= 12
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-4
