"""How much is simulated: with each change what ends in about two minutes, with AGGMAINT_DEEP=1 days of it.

AGGMAINT_SEEDS and AGGMAINT_KILLS set their numbers alone.
"""

import os

DEEP = bool(os.environ.get("AGGMAINT_DEEP"))
SEEDS = int(os.environ.get("AGGMAINT_SEEDS", "100000" if DEEP else "500"))
FIRST_SEED = int(os.environ.get("AGGMAINT_FIRST_SEED", "0"))
KILLS = int(os.environ.get("AGGMAINT_KILLS", "50000" if DEEP else "60"))
HISTORIES = 1_050 if DEEP else 10  # of 240 calls each, four times
