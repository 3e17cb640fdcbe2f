"""Whose frame goes through the detector next."""
