"""Networks, their training and what they read; knows stores, not how they are made.

OpenMP threads of torch shall sleep while they wait for each other. By default they spin: two trainings on two cores then took ten
times as long as one, because each waited for threads that the other kept from running. OpenMP reads its variables when torch is
loaded, which the modules of this package do, so they are set here, before; what the user has set stays.
"""

import os

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
