"""Prefect flows that start training and evaluation as jobs; they import neither verl nor `workers`."""
