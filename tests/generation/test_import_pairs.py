import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from PIL import Image as PillowImage
from PIL import ImageCms
from PIL.PngImagePlugin import PngInfo

from generation.models import GeneratedImage, GenerationRun
from survey.services import create_study

pytestmark = pytest.mark.django_db

COLUMNS = ["pair", "class_index", "class_name", "seed", "arm", "file", "sha256"]


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "DATA_DIR", tmp_path / "data")
    return tmp_path / "data"


Rows = list[dict[str, Any]]


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    """Two pairs of a GAN's and a diffusion model's images, with text chunks that name the model."""
    made: Rows = []
    for pair in range(2):
        for shade, arm in enumerate(("gan", "ddpm")):
            info = PngInfo()
            info.add_text("model", arm)
            pixels = np.full((6, 6, 3), 40 * pair + 90 * shade, dtype=np.uint8)
            made.append({"pair": pair, "class_index": pair, "class_name": f"c{pair}", "seed": 7, "arm": arm})
            made[-1]["file"] = f"{arm}{pair}.png"
            PillowImage.fromarray(pixels).save(tmp_path / made[-1]["file"], pnginfo=info)
            made[-1]["sha256"] = sha256(tmp_path / made[-1]["file"])
    return made


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(tmp_path: Path, rows: Rows, columns: list[str] = COLUMNS, name: str = "others") -> None:
    path = tmp_path / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    call_command("import_pairs", str(path), name=name)


def test_imported_pairs_become_plain_images_and_a_study(tmp_path: Path, rows: Rows, data_dir: Path) -> None:
    load(tmp_path, rows)
    assert [(run.arm, run.preset) for run in GenerationRun.objects.filter(name="others")] == [
        ("ddpm", "imported"),
        ("gan", "imported"),
    ]
    for image in GeneratedImage.objects.select_related("run"):
        assert image.path.is_relative_to(data_dir)
        assert sha256(image.path) == image.sha256
        content = image.path.read_bytes()
        assert b"tEXt" not in content
        assert b"gan" not in content
        with (
            PillowImage.open(image.path) as copy,
            PillowImage.open(tmp_path / f"{image.run.arm}{image.pair_index}.png") as own,
        ):
            assert np.array_equal(np.asarray(copy), np.asarray(own))
    assert create_study(slug="mine", pairs_name="others").pairs.count() == 2


def test_all_images_get_one_mode(tmp_path: Path, rows: Rows) -> None:
    PillowImage.fromarray(np.full((6, 6), 9, dtype=np.uint8)).save(tmp_path / "gan0.png")
    rows[0]["sha256"] = sha256(tmp_path / "gan0.png")
    load(tmp_path, rows)
    modes = set()
    for image in GeneratedImage.objects.select_related("run"):
        with PillowImage.open(image.path) as copy:
            modes.add(copy.mode)
    assert modes == {"RGB"}


def edit(index: int, **values: object) -> Any:
    return lambda rows: rows[index].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit(1, seed=8), r"line 3: seed is 8, but line 2 of the same pair has 7"),
        (edit(1, class_index=5), r"line 3: class_index is 5, but line 2"),
        (edit(1, class_name="cat"), r"line 3: class_name is 'cat', but line 2"),
        (edit(1, arm="gan"), r"line 3: pair 0 has arm 'gan' on line 2 too"),
        (lambda rows: rows.pop(), r"line 4: pair 1 has no image of arm 'ddpm'"),
        (edit(2, sha256="0" * 64), r"line 4: gan1.png is not the file that sha256 tells"),
        (edit(2, file="absent.png"), r"line 4: no file absent.png"),
        (edit(2, file="../outside.png"), r"line 4: ../outside.png lies outside"),
        (edit(2, pair="-1"), r"line 4: pair is '-1'"),
        (edit(2, pair="1.0"), r"line 4: pair is '1.0'"),
        (edit(2, arm="a/b"), r"line 4: arm is 'a/b'"),
        (edit(2, class_name=""), r"line 4: class_name is empty"),
        (lambda rows: rows.clear(), r"lists no images"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_entered(
    tmp_path: Path, rows: Rows, data_dir: Path, change: Any, message: str
) -> None:
    change(rows)
    with pytest.raises(CommandError, match=message):
        load(tmp_path, rows)
    assert not GenerationRun.objects.exists()
    assert not list(data_dir.rglob("*.png"))


def test_a_missing_column_is_named(tmp_path: Path, rows: Rows) -> None:
    with pytest.raises(CommandError, match=r"line 1: no column seed, sha256"):
        load(tmp_path, rows, [column for column in COLUMNS if column not in {"seed", "sha256"}])


def test_images_of_one_pair_must_be_of_one_size(tmp_path: Path, rows: Rows) -> None:
    PillowImage.fromarray(np.zeros((7, 6, 3), dtype=np.uint8)).save(tmp_path / "ddpm1.png")
    rows[3]["sha256"] = sha256(tmp_path / "ddpm1.png")
    with pytest.raises(CommandError, match=r"line 5: ddpm1.png is 6x7, but line 4 of the same pair is 6x6"):
        load(tmp_path, rows)


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, rows: Rows, content: bytes) -> None:
    (tmp_path / "gan1.png").write_bytes(content)
    rows[2]["sha256"] = sha256(tmp_path / "gan1.png")
    with pytest.raises(CommandError, match=r"line 4: gan1.png is no image that can be read"):
        load(tmp_path, rows)


def test_a_transparent_image_is_refused(tmp_path: Path, rows: Rows) -> None:
    PillowImage.new("RGBA", (6, 6)).save(tmp_path / "gan1.png")
    rows[2]["sha256"] = sha256(tmp_path / "gan1.png")
    with pytest.raises(CommandError, match=r"line 4: gan1.png is transparent"):
        load(tmp_path, rows)


def test_a_name_is_taken_once(tmp_path: Path, rows: Rows) -> None:
    load(tmp_path, rows)
    with pytest.raises(CommandError, match="name 'others' is taken"):
        load(tmp_path, rows)
    with pytest.raises(CommandError, match="use at most 80 letters"):
        load(tmp_path, rows, name="Other pairs")


def save_as(tmp_path: Path, rows: Rows, index: int, image: PillowImage.Image, name: str, **options: Any) -> None:
    """Let a line name another image."""
    image.save(tmp_path / name, **options)
    rows[index].update(file=name, sha256=sha256(tmp_path / name))


def imported(arm: str, pair: int) -> np.ndarray:
    row = GeneratedImage.objects.select_related("run").get(run__arm=arm, pair_index=pair)
    with PillowImage.open(row.path) as image:
        assert image.format == "PNG"
        assert image.info == {}
        return np.asarray(image)


def gradient(mode: str = "RGB", width: int = 6) -> PillowImage.Image:
    values = np.arange(6 * width * 3, dtype=np.uint8).reshape(6, width, 3)
    return PillowImage.fromarray(values).convert(mode)


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.bmp", "RGB"), ("a.webp", "RGB"), ("a.tiff", "RGB"), ("a.ppm", "RGB"), ("a.gif", "L"), ("a.png", "RGBA")],
)
def test_a_lossless_format_keeps_its_pixels(tmp_path: Path, rows: Rows, name: str, mode: str) -> None:
    options = {"lossless": True} if name.endswith("webp") else {}
    save_as(tmp_path, rows, 2, gradient(mode), name, **options)
    load(tmp_path, rows)
    assert np.array_equal(imported("gan", 1), np.asarray(gradient(mode).convert("RGB")))


def test_an_opaque_alpha_channel_is_dropped_and_grey_stays_grey(tmp_path: Path, rows: Rows) -> None:
    for index, mode in enumerate(("LA", "L", "1", "L")):
        save_as(tmp_path, rows, index, gradient("L").convert(mode), f"{index}.png")
    load(tmp_path, rows)
    assert np.array_equal(imported("gan", 0), np.asarray(gradient("L")))
    assert imported("gan", 1).ndim == 2


def test_a_photograph_that_lies_on_its_side_is_put_upright(tmp_path: Path, rows: Rows) -> None:
    """Orientation 6 means: turn by 90 degrees clockwise to see it."""
    side = gradient(width=4)
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    save_as(tmp_path, rows, 2, side, "gan1.png", exif=exif)
    save_as(tmp_path, rows, 3, side.rotate(-90, expand=True), "ddpm1.png")
    load(tmp_path, rows)
    assert np.array_equal(imported("gan", 1), imported("ddpm", 1))


def test_colours_of_another_profile_become_those_that_a_browser_shows(tmp_path: Path, rows: Rows) -> None:
    """In Lab, (L, 0, 0) is grey: what is neutral there is neutral in sRGB; sRGB's own profile changes nothing."""
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save_as(tmp_path, rows, 2, gradient(), "gan1.png", icc_profile=own)
    load(tmp_path, rows)
    assert np.array_equal(imported("gan", 1), np.asarray(gradient()))


def test_a_wide_profile_is_converted(tmp_path: Path, rows: Rows) -> None:
    """A profile whose red and green are exchanged: full red in it is full green in sRGB."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = {}
    for entry in range(int.from_bytes(profile[128:132])):
        start = 132 + 12 * entry
        at[bytes(profile[start : start + 4])] = start
    red, green, text = at[b"rXYZ"], at[b"gXYZ"], at[b"desc"]
    profile[red + 4 : red + 8], profile[green + 4 : green + 8] = (
        profile[green + 4 : green + 8],
        profile[red + 4 : red + 8],
    )
    offset = int.from_bytes(profile[text + 4 : text + 8])
    size = int.from_bytes(profile[text + 8 : text + 12])
    profile[offset : offset + size] = profile[offset : offset + size].replace(b"R\0G\0B", b"G\0R\0B")
    save_as(tmp_path, rows, 2, PillowImage.new("RGB", (6, 6), (255, 0, 0)), "gan1.png", icc_profile=bytes(profile))
    load(tmp_path, rows)
    assert imported("gan", 1)[0, 0].tolist() == [0, 255, 0]


def animation() -> Any:
    return {"save_all": True, "append_images": [gradient().rotate(90)]}


@pytest.mark.parametrize(
    ("name", "image", "options", "message"),
    [
        ("a.gif", gradient(), animation(), r"line 4: a.gif has 2 frames; give one image"),
        ("a.png", gradient(), animation(), r"line 4: a.png has 2 frames"),
        ("a.webp", gradient(), animation(), r"line 4: a.webp has 2 frames"),
        ("a.tiff", gradient(), animation(), r"line 4: a.tiff has 2 frames"),
        ("a.png", PillowImage.new("RGBA", (6, 6), (1, 2, 3, 254)), {}, r"line 4: a.png is transparent in places"),
        ("a.png", gradient("P"), {"transparency": 0}, r"line 4: a.png is transparent in places"),
        ("a.png", PillowImage.new("I;16", (6, 6)), {}, r"line 4: a.png is of mode I;16; save it as 8-bit"),
        ("a.tiff", PillowImage.new("F", (6, 6)), {}, r"line 4: a.tiff is of mode F"),
        ("a.png", gradient(), {"icc_profile": b"nonsense"}, r"line 4: a.png has a colour profile that cannot be read"),
        ("a.eps", gradient(), {}, r"line 4: a.eps is no image that can be read"),
        ("a.pdf", gradient(), {}, r"line 4: a.pdf is no image that can be read"),
        ("a.png", PillowImage.new("1", (12000, 12000)), {}, r"line 4: a.png is too large"),
        ("a.png", PillowImage.new("1", (20000, 20000)), {}, r"line 4: a.png is too large"),
    ],
)
def test_an_image_that_would_need_a_choice_is_refused_by_its_line(
    tmp_path: Path, rows: Rows, name: str, image: PillowImage.Image, options: Any, message: str
) -> None:
    save_as(tmp_path, rows, 2, image, name, **options)
    with pytest.raises(CommandError, match=message):
        load(tmp_path, rows)
    assert not GenerationRun.objects.exists()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.webp", "a.tiff", "a.bmp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_refused_by_its_line(tmp_path: Path, rows: Rows, name: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    PillowImage.fromarray(noise).save(tmp_path / "whole", name[2:].replace("jpg", "jpeg"))
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    rows[2].update(file=name, sha256=sha256(tmp_path / name))
    with pytest.raises(CommandError, match=f"line 4: {name} is no image that can be read"):
        load(tmp_path, rows)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("../{folder}/gan1.png", None),
        ("{absolute}/gan1.png", None),
        ("sub/../gan1.png", None),
        ("inside.png", None),
        ("outside.png", r"line 4: outside.png lies outside"),
        ("/etc/hostname", r"line 4: /etc/hostname lies outside"),
        ("..", r"line 4: .. lies outside"),
        (".", r"line 4: no file \. in"),
        ("loop.png", r"line 4: no file loop.png in"),
        ("a\0b.png", r"line 4: no file a\0b.png in"),
        ("x" * 300 + ".png", r"line 4: no file x+.png in"),
    ],
)
def test_a_path_may_wander_but_must_end_in_the_manifests_folder(
    tmp_path: Path, rows: Rows, file: str, message: str | None
) -> None:
    (tmp_path / "inside.png").symlink_to(tmp_path / "gan1.png")
    outside = tmp_path.parent / f"{tmp_path.name}-outside.png"
    outside.write_bytes((tmp_path / "gan1.png").read_bytes())
    (tmp_path / "outside.png").symlink_to(outside)
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    rows[2]["file"] = file.format(folder=tmp_path.name, absolute=tmp_path)
    if message is None:
        load(tmp_path, rows)
    else:
        with pytest.raises(CommandError, match=message):
            load(tmp_path, rows)


def test_excels_csv_and_names_in_any_script_are_read(tmp_path: Path, rows: Rows) -> None:
    """A byte order mark, CRLF, quotes, another order of columns, another column, an empty line."""
    for row in rows:
        row["class_name"] = 'Tür, „groß" 猫'
        row["file"] = str((tmp_path / row["file"]).rename(tmp_path / f"ü {row['file']}").name)
    path = tmp_path / "manifest.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, [*reversed(COLUMNS), "prompt"], restval="-", lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows[:2])
        file.write("\r\n")
        writer.writerows(rows[2:])
    call_command("import_pairs", str(path), name="others")
    assert set(GeneratedImage.objects.values_list("class_name", flat=True)) == {'Tür, „groß" 猫'}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pair,pair,class_index,class_name,seed,arm,file,sha256\n", "line 1: two columns are named pair"),
        (",".join(COLUMNS) + "\n1,2,3\n", "line 2: 3 values for 7 columns"),
        (",".join(COLUMNS) + '\n1,0,"' + "x" * 200_000 + '",7,a,a.png,0\n', "is no CSV that can be read"),
        (",".join(COLUMNS) + f"\n1,0,c,7,{'a' * 41},a.png,0\n", "line 2: arm has 41 characters, 40 at most"),
        (",".join(COLUMNS) + f"\n1,0,{'c' * 201},7,a,a.png,0\n", "line 2: class_name has 201 characters"),
        (",".join(COLUMNS) + "\n1,0,c,7,A,a.png,0\n1,0,c,7,a,b.png,0\n", "differ only by case, of A, a"),
        ("", "line 1: no column pair"),
    ],
)
def test_a_manifest_that_cannot_be_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(CommandError, match=message):
        call_command("import_pairs", str(tmp_path / "manifest.csv"), name="others")


def test_a_manifest_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes(",".join(COLUMNS).encode() + "\n1,0,Tür,7,a,a.png,0\n".encode("latin-1"))
    with pytest.raises(CommandError, match="give a manifest as CSV in UTF-8"):
        call_command("import_pairs", str(tmp_path / "manifest.csv"), name="others")


def test_an_import_records_who_made_the_copies(tmp_path: Path, rows: Rows) -> None:
    load(tmp_path, rows)
    run = GenerationRun.objects.get(name="others", arm="gan")
    assert run.settings["manifest"] == str(tmp_path / "manifest.csv")
    assert run.settings["manifest_sha256"] == sha256(tmp_path / "manifest.csv")
    assert run.sessions[0]["software"]["pillow"]
