"""Rules that find contradictions of a table with itself."""
