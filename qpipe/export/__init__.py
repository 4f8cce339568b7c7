"""Models that leave the store: folders that other tools, hubs and people take as they are."""
