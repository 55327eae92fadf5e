"""Random names for addresses and cookies."""

import base64
import random

SYSTEM_RNG = random.SystemRandom()


def make_token(rng: random.Random = SYSTEM_RNG) -> str:
    """Return 128 random bits for an address; says nothing about what it names."""
    return base64.urlsafe_b64encode(rng.randbytes(16)).rstrip(b"=").decode()
