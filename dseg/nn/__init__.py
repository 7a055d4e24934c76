"""Shared blocks of the networks; torch only."""
