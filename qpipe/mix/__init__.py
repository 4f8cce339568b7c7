"""Mixes under a budget: what each tensor loses in each type, and the types that lose least."""
