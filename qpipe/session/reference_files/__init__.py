"""Reference files as use cases: exported, shown, imported, and their sizes foretold."""
