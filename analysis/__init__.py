import os

# What a report solves is small, and other work shares the processors: OpenBLAS's threads, which spin while they wait,
# made a report of a million answers three times slower on a busy machine, and on an idle one save little.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
