"""Makes the images: presets, networks, sampling, training, and the pairs' rows."""

import os

# OpenMP's threads wait for each other by spinning, and take the processor from the thread that they wait for wherever
# anything else runs beside them. This bounds the spinning to well under a millisecond: as fast as without the bound on
# an idle machine, and many times faster on a busy one (docs/benchmarks.md). Read when torch is first imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
