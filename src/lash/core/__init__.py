"""Floor 0: values every other floor speaks in. Pure: no event loop, no I/O, no chance."""
