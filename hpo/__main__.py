"""`python -m hpo` is `hpo`."""

import sys

if __name__ == "__main__":
    # Python puts the folder where the user stands first, and a `random.py` there would be taken for Python's own.
    sys.path.append(sys.path.pop(0))

    from hpo.cli import main

    main()
