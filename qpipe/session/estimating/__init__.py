"""What a model will take, before anything runs: sizes, memory and speed in each format."""
