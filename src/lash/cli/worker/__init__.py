"""`lash worker`: runs the processes and agents of a module over a database."""
