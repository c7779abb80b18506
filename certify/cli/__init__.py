"""Floor 5: one file a command, imported when the command is known."""
