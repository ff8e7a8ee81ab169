"""Reads verl's config, and refuses settings that do not work with verl-vip."""
