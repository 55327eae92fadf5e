import hashlib
import json
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from analysis.metrics.fashion import WEIGHTS
from tests.analysis.metrics.pictures import noise_images, write_folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference and three arms of grey images; arms a and b are the same images, b and c brightened."""
    root = tmp_path_factory.mktemp("metrics")
    write_folder(root / "reference", noise_images(40, seed=0))
    for name, shift in (("a", 0), ("b", 20), ("c", 50)):
        write_folder(root / name, noise_images(30, seed=1, shift=shift))
    return root


def measure(capsys: pytest.CaptureFixture[str], *args: str | Path, **options: Any) -> dict[str, Any]:
    call_command("compute_metrics", *map(str, args), **options)
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_one_arm_has_values_errors_protocol_counts_weights_and_versions(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = measure(capsys, "--generated", folders / "c", "--reference", folders / "reference")

    assert {"fid", "kid", "precision", "recall", "density", "coverage", "inception_score"} == set(result["values"])
    assert result["errors"]["fid"] > 0
    assert result["values"] == result["arms"]["c"]["values"]
    assert (result["arms"]["c"]["count"], result["reference"]["count"]) == (30, 40)
    assert result["features"]["weights_sha256"] == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert result["protocol"]["name"] == "native"
    assert {"python", "torch", "numpy", "scipy", "pillow"} == set(result["versions"])
    assert "no spatial features" in result["arms"]["c"]["unavailable"]["sfid"]
    assert "no full rank" in result["arms"]["c"]["warnings"][0]
    low, high = result["arms"]["c"]["intervals"]["fid"]
    assert low < result["values"]["fid"] < high


def test_a_set_against_itself_is_perfect(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = measure(capsys, "--generated", folders / "a", "--reference", folders / "a")["values"]

    assert values["fid"] == pytest.approx(0, abs=1e-9)
    assert (values["precision"], values["recall"], values["coverage"]) == (1, 1, 1)


def test_batch_size_and_form_of_the_images_change_nothing(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "a.npz", noise_images(30, seed=1), np.zeros(30, np.int64))
    against = ("--reference", folders / "reference", "--metrics", "fid,kid,precision")

    first = measure(capsys, "--generated", folders / "a", *against, "--batch-size", "7")
    second = measure(capsys, "--generated", tmp_path / "a.npz", *against)

    assert first["values"] == pytest.approx(second["values"], rel=1e-5)
    assert set(first["values"]) == {"fid", "kid", "precision"}


def test_two_arms_of_the_same_names_are_subtracted_pair_by_pair(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "few", noise_images(20, seed=1, shift=20))
    arms = ("--generated", f"robust={folders / 'a'}", folders / "c", tmp_path / "few")

    result = measure(
        capsys, *arms, "--reference", folders / "reference", "--metrics", "fid", "--latex", tmp_path / "table.tex"
    )

    assert list(result["arms"]) == ["robust", "c", "few"]
    pairs = {(each["first"], each["second"]): each for each in result["differences"]}
    assert [each["matched"] for each in pairs.values()] == [True, False, False]
    difference = pairs["robust", "c"]
    robust, bright = (result["arms"][name] for name in ("robust", "c"))
    assert difference["values"]["fid"] == pytest.approx(robust["values"]["fid"] - bright["values"]["fid"])
    assert difference["errors"]["fid"] < np.hypot(robust["errors"]["fid"], bright["errors"]["fid"])
    table = (tmp_path / "table.tex").read_text()
    assert r"Metric & robust & c & few \\" in table
    assert rf"${robust['values']['fid']:.3f} \pm {robust['errors']['fid']:.3f}$" in table
    assert "20 to 30 generated images against 40 reference images" in table


def test_a_sweep_is_drawn_and_tabled_by_its_values(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = [f"vanilla@0.25={folders / 'b'}", f"vanilla@0={folders / 'a'}", f"robust@0.25={folders / 'c'}"]
    wanted = ("--reference", folders / "reference", "--sweep", "guidance scale", "--metrics", "fid,precision")
    outputs = ("--plot", tmp_path / "curves.svg", "--latex", tmp_path / "t.tex", "--output", tmp_path / "r.json")

    result = measure(capsys, "--generated", *arms, *wanted, *outputs)

    assert json.loads((tmp_path / "r.json").read_text()) == result
    assert [(arm["arm"], arm["sweep"]) for arm in result["arms"].values()] == [
        ("vanilla", 0.25),
        ("vanilla", 0.0),
        ("robust", 0.25),
    ]
    # Only arms at one place are compared.
    assert [(each["first"], each["second"]) for each in result["differences"]] == [("vanilla@0.25", "robust@0.25")]
    assert r"guidance scale & & 0 & 0.25 \\" in (tmp_path / "t.tex").read_text()
    assert r"robust & FID ($\downarrow$) & -- & $" in (tmp_path / "t.tex").read_text()
    drawn = ET.parse(tmp_path / "curves.svg")
    named = {each.get("id") for each in drawn.iter()}
    assert {"fid", "precision"} <= named
    # A line for each arm in each panel, and no third.
    assert {f"{metric}-{number}" for metric in ("fid", "precision") for number in (0, 1)} <= named
    assert "fid-2" not in named
    texts = {each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert {"guidance scale", "vanilla", "robust", "0.25", "FID (lower is better)"} <= texts


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_tables_compile(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    against = ("--reference", folders / "reference", "--metrics", "fid,kid,precision", "--latex")
    names = ("a_b & 50%", "c\\^ñ中")
    measure(capsys, "--generated", *(f"{name}={folders / 'a'}" for name in names), *against, tmp_path / "arms.tex")
    places = [f"{name}@{place}={folders / 'b'}" for place, name in enumerate(names)]
    measure(capsys, "--generated", *places, *against, tmp_path / "sweep.tex", "--sweep", "steps_of_100%")
    body = r"\begin{document}\input{arms.tex}\input{sweep.tex}\end{document}"
    (tmp_path / "own.tex").write_text(rf"\documentclass{{article}}{body}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "own.tex"]
    done = subprocess.run(command, cwd=tmp_path, check=False, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-1500:]


def test_inception_is_measured_against_a_made_reference(
    tmp_path: Path, inception_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "real", noise_images(2, seed=0, channels=3))
    write_folder(tmp_path / "made", noise_images(2, seed=1, channels=3))
    features = ("--features", "inception", "--weights", inception_file)

    call_command("make_reference", str(tmp_path / "real"), "--output", str(tmp_path / "ref.npz"), *map(str, features))
    assert "2 images, protocol adm; it holds arr_0, mu, sigma, mu_s, sigma_s" in capsys.readouterr().out
    result = measure(capsys, "--generated", tmp_path / "made", "--reference", tmp_path / "ref.npz", *features)

    assert {"fid", "sfid", "kid", "inception_score"} == set(result["values"])
    said = "computed from these images"
    assert result["reference"] == {"path": str(tmp_path / "ref.npz"), "count": 2, "statistics": said}
    assert result["protocol"]["name"] == "adm"
    assert "needs more than 5 images in each set, one has 2" in result["arms"]["made"]["unavailable"]["precision"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--generated", "{root}/absent"], "absent is no folder of images"),
        (["--reference", "{root}/absent"], "absent is no folder of images"),
        (["--features", "inception"], "fetch_weights inception"),
        (["--features", "absent.pt"], "There are no features absent.pt: choose inception, fashion or"),
        (["--features", "{root}/a/0000.png"], "0000.png is no TorchScript file"),
        (["--protocol", "clean"], "--protocol clean is one of Inception's"),
        (["--weights", "{root}/a/0000.png"], "0000.png"),
        (["--metrics", "fid,psnr"], "Unknown metric 'psnr': choose from fid,"),
        (["--confidence", "95"], "95"),
        (["--plot", "x.gif"], "x.gif: a plot's name must end in .svg, .png or .pdf"),
        (["--sweep", "scale"], "names no value"),
        (["--generated", "{root}/a", "a={root}/b"], "Two arms are called a"),
    ],
)
def test_bad_input_is_one_clear_line(folders: Path, change: list[str], message: str) -> None:
    given = {"--generated": [str(folders / "a")], "--reference": [str(folders / "reference")]}
    given |= {change[0]: [part.format(root=folders) for part in change[1:]]}

    with pytest.raises(CommandError) as error:
        call_command("compute_metrics", *(part for flag, values in given.items() for part in (flag, *values)))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
