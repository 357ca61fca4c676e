"""Shared by tests of several folders: projects, servers, samples and misbehaving sources."""
