"""Say what a checkpoint is."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from tqdm import tqdm

from generation.architecture import Architecture
from generation.classes import short_list
from generation.inspection import Inspection, inspect_checkpoint
from generation.management.options import GenerationCommand
from generation.presets import load_preset, shipped_presets


class Command(GenerationCommand):
    """`manage.py inspect_checkpoint FILE`."""

    help = (
        "Say what a checkpoint is: the architecture that its tensors tell, what it says of itself, which presets it "
        "fits, or which tensor is the first to differ. Reads .safetensors, and .pt without running any code in it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("checkpoint", type=Path, help="a .safetensors or .pt file")
        parser.add_argument("--preset", help="compare with this one too: a name, or a TOML file's path")
        parser.add_argument("--part", help="which part of a .pt file that has several")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Inspect and print."""
        presets = {name: load_preset(name) for name in shipped_presets()}
        if options["preset"]:
            presets[options["preset"]] = load_preset(options["preset"])
        # The bar is for files that take their time.
        with tqdm(desc="reading", unit="B", unit_scale=True, delay=2, leave=False) as bar:

            def on_tensor(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            inspection = inspect_checkpoint(options["checkpoint"], presets, part=options["part"], on_tensor=on_tensor)
        if options["json"]:
            self.stdout.write(json.dumps(as_json(inspection), indent=2))
            return
        self.stdout.write(f"{inspection.path}: {headline(inspection)}")
        for key, text in facts(inspection, options["preset"]):
            self.stdout.write(f"  {key:<13} {text}")


def as_json(inspection: Inspection) -> dict[str, Any]:
    """Return an inspection as plain values."""
    metadata = inspection.metadata
    return {
        "file": str(inspection.path),
        "bytes": inspection.size,
        "sha256": inspection.sha256,
        "part": inspection.file.part,
        "removed_prefix": inspection.file.prefix,
        "network": inspection.network,
        "kind": metadata.kind if metadata else None,
        "architectures": [dataclasses.asdict(architecture) for architecture in inspection.inference.architectures],
        "departure": inspection.inference.departure,
        "parameters": inspection.parameters,
        "tensors": len(inspection.file.layout),
        "parameters_of_type": inspection.dtypes,
        "not_finite": inspection.not_finite or None,
        "step": metadata.step if metadata else None,
        "step_in_name": inspection.step_in_name,
        "dataset": metadata.dataset if metadata else None,
        "class_names": list(metadata.class_names) if metadata else [],
        "class_orders": list(inspection.class_orders),
        "preset": metadata.preset if metadata else None,
        "initial": (metadata.initial or None) if metadata else None,
        "source": (metadata.source or None) if metadata else None,
        "fits": list(inspection.fits),
        "differs": dict(inspection.differs),
        "nearest": inspection.nearest or None,
    }


def headline(inspection: Inspection) -> str:
    """Say in a line what the file is."""
    if inspection.network is None:
        name, tensor = next(iter(inspection.file.layout.items()))
        return f"no U-Net or classifier of this family; its first tensor is {name} {list(tensor.shape)}"
    if inspection.network == "unet":
        return "a U-Net"
    return f"a {inspection.metadata.kind} classifier" if inspection.metadata else "a time-dependent classifier"


def facts(inspection: Inspection, asked: str | None) -> Iterator[tuple[str, str]]:
    """Yield what there is to say, each under a word; of misfits the nearest one and the preset that was asked for."""
    yield from _file_facts(inspection)
    yield from _network_facts(inspection)
    yield from _origin_facts(inspection)
    yield "fits", ", ".join(inspection.fits) or "no preset"
    named = {asked, *([] if inspection.fits else [inspection.nearest])}
    for name, difference in inspection.differs.items():
        if name in named or name.startswith("its own"):
            yield "differs", f"from {name}: {difference}"


def _file_facts(inspection: Inspection) -> Iterator[tuple[str, str]]:
    types = ", ".join(inspection.dtypes)
    yield (
        "size",
        f"{inspection.size:,} bytes: {inspection.parameters:,} parameters in {len(inspection.file.layout)} tensors",
    )
    yield "numbers", types + (f"; not all finite: {inspection.not_finite}" if inspection.not_finite else "")
    yield "sha256", inspection.sha256
    if inspection.file.remark:
        yield "taken", inspection.file.remark


def _network_facts(inspection: Inspection) -> Iterator[tuple[str, str]]:
    if inspection.network is None:
        return
    inference = inspection.inference
    for architecture in inference.architectures:
        yield "architecture", describe(architecture)
    if not inference.architectures:
        yield "architecture", "none of this family's: blocks are missing, or in another order"
    if inference.departure:
        yield "departs", f"from that: {inference.departure.replace('in the preset', 'in such a network')}"


def describe(architecture: Architecture) -> str:
    """Return an architecture in the presets' words."""
    a = architecture
    mult = ", ".join(str(multiplier) for multiplier in a.channel_mult)
    blocks = "depth" if a.network == "classifier" else "res_blocks"
    told = [f"width {a.width}", f"channel_mult [{mult}]", f"{blocks} {a.res_blocks}", _attention(a)]
    told += [key for key in ("scale_shift_norm", "resblock_updown", "learn_sigma") if getattr(a, key)]
    told += [f"{a.channels} channel{'s' if a.channels > 1 else ''}"]
    told += [f"{a.classes} classes" if a.classes else "unconditional"]
    told += [f"image size {a.image_size}" if a.image_size else "any image size"]
    return ", ".join(told)


def _attention(a: Architecture) -> str:
    if not a.attention_downsampling:
        return "attention_resolutions []"
    if a.image_size:
        return f"attention_resolutions {[a.image_size // factor for factor in a.attention_downsampling]}"
    return "attention at " + ", ".join(f"1/{factor}" for factor in a.attention_downsampling) + " of the image size"


def _origin_facts(inspection: Inspection) -> Iterator[tuple[str, str]]:
    metadata = inspection.metadata
    if metadata is None:
        in_name = f"; its name says {inspection.step_in_name}" if inspection.step_in_name else ""
        yield "step", "it does not say" + in_name
        yield "class names", "it does not say; which order they are in cannot be told from the tensors"
        return
    yield "step", "it does not say" if metadata.step is None else str(metadata.step)
    yield "data set", metadata.dataset or "it does not say"
    orders = f" ({', '.join(inspection.class_orders)})" if inspection.class_orders else ""
    yield "class names", short_list(metadata.class_names) + orders if metadata.class_names else "it does not say"
    for key, value in (("begun from", metadata.initial), ("made from", metadata.source)):
        if value:
            yield key, f"the checkpoint with sha256 {value}"
