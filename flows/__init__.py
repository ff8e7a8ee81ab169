"""The Prefect side. Nothing is here yet; the package name is reserved for it."""
