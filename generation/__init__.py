"""Makes the images: presets, networks, sampling, training, and the pairs' rows."""

import os

# Threads that wait for each other by spinning take the processor from the thread they wait for wherever anything else
# runs beside them: 20 times slower, measured on two busy cores. OpenMP reads this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
