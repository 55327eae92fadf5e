"""Sweeps: one file says what is trained, sampled and measured, and the paper's tables come out; no Django."""
