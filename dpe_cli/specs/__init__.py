"""Specs: the written requirements."""
