"""Model cards: README.md of a repository, written from what was measured and made, and from nothing
else."""
