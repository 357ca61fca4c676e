"""Readers that several sources share."""
