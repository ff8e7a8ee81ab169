"""The strategies themselves, one file each; `verl_vip.strategies.registry` has them by name."""
