"""``python -m calico_mn``: the same as ``calico-mn``."""

import sys

from calico_mn.cli.main import main

sys.exit(main())
