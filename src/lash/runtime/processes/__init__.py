"""Running processes: the worker, the engines, and what the code of a process may ask for."""
