"""Text files and the records of data sets: how a file of words is read, whatever it holds."""
