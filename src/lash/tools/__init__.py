"""Floor 3: tools. What a tool is, how one is made from a function, when it is run again."""
