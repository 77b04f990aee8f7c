"""Measurements beside uvicorn, in one run, as ratios."""
