import csv
import hashlib
import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image as PillowImage
from safetensors.torch import load_file, save_file

from generation.folders import ImageFolder
from generation.models import GeneratedImage, GenerationRun
from generation.presets import load_preset
from survey.services import create_study
from tests.generation.conftest import TINY

pytestmark = pytest.mark.django_db

Generate = Any


@pytest.fixture
def generate(tiny_path: Path, weights: dict[str, Path]) -> Generate:
    def run(output: Path, preset: Path = tiny_path, **options: Any) -> str:
        out = StringIO()
        settings = {"count": 5, "seed": 3, "batch_size": 2, **weights, **options}
        call_command("generate_pairs", str(preset), output=output, stdout=out, **settings)
        return out.getvalue()

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def pixels(folder: Path, arm: str, pair: int) -> np.ndarray:
    with PillowImage.open(folder / arm / f"{pair:06d}.png") as image:
        return np.asarray(image, dtype=int)


def test_pairs_are_files_a_manifest_and_rows_that_agree(generate: Generate, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    assert "5 pairs named 'set'" in generate(folder)
    with (folder / "manifest.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["pair", "class_index", "class_name", "seed", "arm", "file", "sha256"]
    assert [(line["pair"], line["arm"]) for line in lines] == [
        (str(i), a) for i in range(5) for a in ("robust", "vanilla")
    ]
    assert {line["class_name"] for line in lines} == {"hat", "shoe, left", "bag"}
    for line in lines:
        assert hashlib.sha256((folder / line["file"]).read_bytes()).hexdigest() == line["sha256"]
        row = GeneratedImage.objects.get(run__name="set", run__arm=line["arm"], pair_index=line["pair"])
        assert (row.file, row.sha256, row.class_name) == (line["file"], line["sha256"], line["class_name"])
    run = GenerationRun.objects.get(name="set", arm="robust")
    assert run.completed_at is not None
    assert (run.settings["scale"], run.settings["respacing"]) == (1.0, "4")
    assert run.settings["classifier_sha256"] != run.settings["diffusion_sha256"]


def test_images_are_plain_png_of_the_presets_size(generate: Generate, tmp_path: Path) -> None:
    generate(tmp_path / "set", count=1)
    for path in tmp_path.glob("set/*/*.png"):
        data = path.read_bytes()
        with PillowImage.open(path) as image:
            assert (image.size, image.mode, image.info) == ((8, 8), "L", {})
        chunks, at = [], 8
        while at < len(data):
            length = int.from_bytes(data[at : at + 4])
            chunks.append(data[at + 4 : at + 8])
            at += 12 + length
        assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}


def test_arms_at_scale_0_are_the_same_bytes_and_others_are_not(generate: Generate, tmp_path: Path) -> None:
    generate(tmp_path / "zero", vanilla_scale=0.0, robust_scale=0.0)
    generate(tmp_path / "strong", vanilla_scale=300.0, robust_scale=300.0)
    for pair in range(5):
        assert np.array_equal(pixels(tmp_path / "zero", "robust", pair), pixels(tmp_path / "zero", "vanilla", pair))
    assert any(
        (pixels(tmp_path / "strong", "robust", i) != pixels(tmp_path / "strong", "vanilla", i)).any() for i in range(5)
    )


def test_the_same_classifier_and_scale_make_the_same_bytes(
    generate: Generate, tmp_path: Path, weights: dict[str, Path]
) -> None:
    copied = tmp_path / "copied.safetensors"
    copied.write_bytes(weights["vanilla"].read_bytes())
    generate(tmp_path / "same", robust=copied, vanilla_scale=20.0, robust_scale=20.0)
    found = content(tmp_path / "same")
    assert all(found[f"robust/{pair:06d}.png"] == found[f"vanilla/{pair:06d}.png"] for pair in range(5))


def test_three_arms_share_their_noise_and_the_unguided_one_needs_no_classifier(
    generate: Generate, tmp_path: Path
) -> None:
    generate(tmp_path / "zero", robust_scale=0.0, vanilla_scale=0.0)
    generate(tmp_path / "three", arms=["vanilla", "unguided", "robust"])
    for pair in range(5):
        # Another number of arms is another batch, whose arithmetic may round otherwise.
        difference = pixels(tmp_path / "three", "unguided", pair) - pixels(tmp_path / "zero", "robust", pair)
        assert abs(difference).max() <= 1
    assert [run.arm for run in GenerationRun.objects.filter(name="three")] == ["robust", "unguided", "vanilla"]
    assert create_study(slug="three", pairs_name="three").pairs.count() == 5 * 3
    generate(tmp_path / "two", arms=["unguided", "robust"], vanilla=Path("absent.safetensors"))
    assert [run.arm for run in GenerationRun.objects.filter(name="two")] == ["robust", "unguided"]


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_the_batch_size_does_not_change_the_images(generate: Generate, tmp_path: Path, batch_size: int) -> None:
    generate(tmp_path / "two", batch_size=2)
    generate(tmp_path / "other", batch_size=batch_size)
    for arm in ("robust", "vanilla"):
        for pair in range(5):
            difference = pixels(tmp_path / "two", arm, pair) - pixels(tmp_path / "other", arm, pair)
            assert abs(difference).max() <= 1


def test_a_killed_run_resumes_to_the_bytes_of_an_uninterrupted_one(
    generate: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(tmp_path / "whole")
    write = ImageFolder.write

    def killed(store: ImageFolder, batch: range, pixels: Any) -> None:
        write(store, batch, pixels)
        if batch.start == 2:
            folder = store.folder
            # Half of the batch is on disk, one image of it torn.
            (folder / "vanilla" / "000003.png").unlink()
            torn = folder / "robust" / "000002.png"
            torn.write_bytes(torn.read_bytes()[:40])
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ImageFolder, "write", killed)
        with pytest.raises(CommandError, match="Interrupted"):
            generate(tmp_path / "killed")
    assert not GenerationRun.objects.filter(name="killed").exists()
    assert not (tmp_path / "killed" / "manifest.csv").exists()
    generate(tmp_path / "killed")
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert GeneratedImage.objects.filter(run__name="killed").count() == 10


def test_a_finished_run_is_not_made_again(generate: Generate, tmp_path: Path) -> None:
    generate(tmp_path / "set")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("set/*/*.png")}
    generate(tmp_path / "set")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("set/*/*.png")} == before
    assert GeneratedImage.objects.count() == 10


def test_more_pairs_may_be_added_later(generate: Generate, tmp_path: Path) -> None:
    generate(tmp_path / "set", count=4)
    generate(tmp_path / "set", count=6)
    generate(tmp_path / "six", count=6)
    assert content(tmp_path / "set") == content(tmp_path / "six")
    assert GeneratedImage.objects.filter(run__name="set").count() == 12


def test_classes_are_taken_by_name_or_index(generate: Generate, tmp_path: Path) -> None:
    generate(tmp_path / "named", count=4, classes=["BAG", "shoe, left"])
    generate(tmp_path / "numbered", count=4, classes=["2,1"])
    assert (tmp_path / "named" / "manifest.csv").read_bytes() == (tmp_path / "numbered" / "manifest.csv").read_bytes()
    names = set(GeneratedImage.objects.filter(run__name="named").values_list("class_name", flat=True))
    assert names == {"bag", "shoe, left"}


def test_several_classes_at_once_have_a_name_and_number_of_their_own_and_come_back(
    generate: Generate, tmp_path: Path
) -> None:
    generate(tmp_path / "set", count=4, classes=["bag+hat", "shoe, left"])
    with (tmp_path / "set" / "manifest.csv").open(newline="") as file:
        kinds = {(line["class_index"], line["class_name"]) for line in csv.DictReader(file)}
    # Three classes have 0 to 2, so the combination has 3.
    assert kinds == {("3", "hat + bag"), ("1", "shoe, left")}
    assert json.loads((tmp_path / "set" / "settings.json").read_text())["robust"]["classes"] == [[0, 2], 1]
    call_command("import_pairs", str(tmp_path / "set" / "manifest.csv"), name="set-again", stdout=StringIO())
    for name in ("set", "set-again"):
        images = GeneratedImage.objects.filter(run__name=name)
        assert set(images.values_list("class_index", "class_name")) == {(3, "hat + bag"), (1, "shoe, left")}
        assert create_study(slug=name, pairs_name=name).pairs.filter(class_name="hat + bag").count() == 2


def test_several_classes_pull_an_unguided_image_between_theirs_only_where_the_network_is_told(
    generate: Generate, tmp_path: Path, weights: dict[str, Path]
) -> None:
    generate(tmp_path / "hat", count=2, classes=["hat"], robust_scale=0.0)
    generate(tmp_path / "both", count=2, classes=["hat+bag"], robust_scale=0.0)
    assert any((pixels(tmp_path / "hat", "robust", i) != pixels(tmp_path / "both", "robust", i)).any() for i in (0, 1))
    unconditional = tmp_path / "unconditional.toml"
    unconditional.write_text(TINY.replace("heads = 2", "heads = 2\nclass_conditional = false"))
    path = tmp_path / "unconditional.safetensors"
    tensors = load_file(weights["diffusion"])
    del tensors["label_emb.weight"]
    save_file(tensors, path)
    for name, classes in (("one", ["hat"]), ("two", ["hat+bag"])):
        generate(
            tmp_path / name,
            unconditional,
            count=2,
            classes=classes,
            diffusion=path,
            robust_scale=0.0,
            vanilla_scale=300.0,
        )
    for pair in (0, 1):
        assert np.array_equal(pixels(tmp_path / "one", "robust", pair), pixels(tmp_path / "two", "robust", pair))
        assert (pixels(tmp_path / "one", "vanilla", pair) != pixels(tmp_path / "two", "vanilla", pair)).any()


def test_one_classifier_in_both_arms_at_other_scales_differs(
    generate: Generate, tmp_path: Path, weights: dict[str, Path]
) -> None:
    generate(tmp_path / "scales", robust=weights["vanilla"], vanilla_scale=1.0, robust_scale=100.0)
    found = content(tmp_path / "scales")
    assert any(found[f"robust/{pair:06d}.png"] != found[f"vanilla/{pair:06d}.png"] for pair in range(5))


@pytest.mark.parametrize(
    "options",
    [{"sampler": "ddim"}, {"sampler": "dpmpp2m"}, {"steps": "2,3"}, {"precision": "bf16"}, {"steps": "ddim10"}],
)
def test_other_samplers_steps_and_precisions_work(generate: Generate, tmp_path: Path, options: dict[str, Any]) -> None:
    generate(tmp_path / "plain")
    generate(tmp_path / "other", **options)
    assert any(
        (pixels(tmp_path / "plain", "robust", i) != pixels(tmp_path / "other", "robust", i)).any() for i in range(5)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eta": 0.5}, "eta = 0.5 is for the sampler ddim: leave it out with ddpm"),
        ({"sampler": "ddim", "eta": 1.5}, "eta = 1.5 cannot be"),
        ({"arms": ["robust"]}, "need two arms of different names, not robust"),
        ({"arms": ["robust", "robust"]}, "need two arms"),
        ({"classes": ["shirt"]}, "No class 'shirt' in preset tiny: it has hat"),
        ({"classes": ["3"]}, "No class '3'"),
        ({"classes": ["hat", "0"]}, "names a class twice"),
        ({"steps": "0"}, "Respacing '0'"),
        ({"robust_scale": -1.0}, "scale -1.0 cannot be"),
        ({"robust_scale": float("nan")}, "scale nan cannot be"),
        ({"robust_scale": 1e38}, "not finite: lower the guidance scale"),
        ({"seed": 2**63}, "below 2\\^63"),
        ({"name": "x" * 81}, "use at most 80 letters"),
        ({"name": "Über uns"}, "use at most 80 letters"),
        ({"diffusion": Path("absent.pt")}, "No checkpoint absent.pt"),
        ({"precision": "fp16"}, "needs a CUDA device"),
    ],
)
def test_a_plan_that_cannot_be_is_one_clear_line_and_leaves_nothing(
    generate: Generate, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        generate(tmp_path / "set", **options)
    assert not list(tmp_path.glob("set/*/*.png"))
    assert not GenerationRun.objects.exists()


def test_a_run_that_failed_before_its_first_image_does_not_hold_the_folder(generate: Generate, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="not finite"):
        generate(tmp_path / "set", robust_scale=1e38)
    generate(tmp_path / "set")
    assert GeneratedImage.objects.count() == 10


def test_cuda_is_refused_where_there_is_none(
    generate: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(CommandError, match="no CUDA device"):
        generate(tmp_path / "set", device="cuda")


def test_a_checkpoint_of_another_shape_names_the_first_tensor(
    generate: Generate, tmp_path: Path, weights: dict[str, Path]
) -> None:
    tensors = load_file(weights["robust"])
    save_file({**tensors, "out.2.c_proj.bias": tensors["out.2.c_proj.bias"][:2]}, tmp_path / "two.safetensors")
    with pytest.raises(CommandError, match=r"out.2.c_proj.bias is \[2\] in the file, \[3\] in the preset"):
        generate(tmp_path / "set", robust=tmp_path / "two.safetensors")


def test_a_folder_with_other_settings_or_other_things_is_left_alone(generate: Generate, tmp_path: Path) -> None:
    generate(tmp_path / "set")
    before = content(tmp_path / "set")
    with pytest.raises(CommandError, match=r"made with another seed \(3, now 4\)"):
        generate(tmp_path / "set", seed=4, name="four")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(CommandError, match="holds something else"):
        generate(tmp_path / "mine")
    assert content(tmp_path / "set") == before


def test_a_name_that_is_taken_is_refused(generate: Generate, tmp_path: Path) -> None:
    generate(tmp_path / "set")
    with pytest.raises(CommandError, match="name 'set' is taken by other pairs"):
        generate(tmp_path / "other", seed=4, name="set")
    assert not (tmp_path / "other").exists()


def test_weights_that_are_not_shipped_must_be_given(tiny_path: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No diffusion weights are shipped for preset tiny: give --diffusion FILE"):
        call_command("generate_pairs", str(tiny_path), count=1, seed=0, output=tmp_path / "set")


def test_eta_is_the_given_one_or_the_presets_with_its_own_sampler(
    generate: Generate, tmp_path: Path, tiny_path: Path
) -> None:
    tiny_path.write_text(tiny_path.read_text().replace('respacing = "4"', 'sampler = "ddim"\neta = 0.5'))
    for name, options, eta in (
        ("preset", {}, 0.5),
        ("given", {"eta": 1.0}, 1.0),
        ("other", {"sampler": "ddpm"}, 0.0),
    ):
        generate(tmp_path / name, count=1, steps="2", **options)
        assert GenerationRun.objects.get(name=name, arm="robust").settings["eta"] == eta


def test_settings_on_file_say_what_made_the_images(generate: Generate, tmp_path: Path, tiny_path: Path) -> None:
    generate(tmp_path / "set")
    settings = json.loads((tmp_path / "set" / "settings.json").read_text())
    assert set(settings) == {"robust", "vanilla"}
    assert settings["vanilla"]["scale"] == load_preset(tiny_path).sampling.vanilla_scale
