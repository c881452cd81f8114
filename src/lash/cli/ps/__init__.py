"""`lash ps`: background processes, seen from outside; nothing of them is run here."""
