"""`python -m everloop.serving.server FOLDER --port P`: serve what an endpoint's folder holds."""

import os
import sys


def main() -> int:
    # Before numpy and its like are loaded: several threads a request would only get in each other's way.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from everloop.serving.server.run import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
