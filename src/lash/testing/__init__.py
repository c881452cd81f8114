"""lash."""
