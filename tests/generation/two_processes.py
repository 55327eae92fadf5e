"""Trains in one of several processes, as a launcher would start it: `two_processes.py PRESET DATA OUTPUT WEIGHTS`."""

import os
import sys
from pathlib import Path

import django
import torch
from django.core.management import call_command

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    torch.set_num_threads(1)
    preset, (data, output, weights) = sys.argv[1], map(Path, sys.argv[2:])
    # Batches of 7, which two processes cannot share equally, in parts that are not equal either.
    options = {"data": data, "output": output, "device": "cpu", "batch_size": 7, "validate_every": 3}
    call_command("train_classifier", preset, kind="robust", initial=weights / "robust.safetensors", **options)
    call_command("train_diffusion", preset, accumulation_steps=2, initial=weights / "diffusion.safetensors", **options)
