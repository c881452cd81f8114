"""`lash mcp`: the agents and processes of a module as an MCP server."""
