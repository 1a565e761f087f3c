"""Errors, files, shortages, signals, devices and processes."""
