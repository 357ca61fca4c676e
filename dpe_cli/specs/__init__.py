"""Specs: what was asked for."""
