"""`lash chat`: a durable conversation in a terminal, or line by line from a pipe."""
