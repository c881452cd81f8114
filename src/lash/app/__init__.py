"""Floor 6: the facade. What `import lash` offers."""
