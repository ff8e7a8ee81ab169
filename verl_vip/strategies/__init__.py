"""Every allocation policy on one interface."""
