"""Where it is logged that work does not go on: a face that tells this in words of its own turns it off."""

import logging

#: The name of the logger, below that of the runtime.
STANDSTILL = "lash.runtime.standstill"

standstill = logging.getLogger(STANDSTILL)
