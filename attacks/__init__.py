"""Floor 3: what an attacker's success proves about a release.

from certify import attacks
attacks.epsilon_lower_bound(true_positives=95, positives=100, false_positives=2, negatives=100, delta=1e-5)
"""

from certify.attacks.epsilon import epsilon_lower_bound

__all__ = ["epsilon_lower_bound"]
