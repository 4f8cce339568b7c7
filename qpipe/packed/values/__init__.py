"""What packed matrices stand for: their numbers, some rows at a time. A file a layout."""
