# SPDX-License-Identifier: Apache-2.0
"""The report: well-formed, self-contained, harmless whatever scans and labels say of themselves,
with pictures and strips that agree with the voxels and with the JSON of the same search."""
import base64
import html.parser
import json
import os
import re
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ET
import zlib

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

CMIR = os.environ["CMIR"]
NOTICE = "research use only, not for diagnosis"
HTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE_ID = "\"><script>alert(1)</script>"
HOSTILE_TEXT = "</style><img src=http://x.invalid/a onerror=alert(2)>"
HOSTILE_LABEL = "'\"><svg onload=alert(3)>&lt;&amp;\u202eabc"
HOSTILE_NAME = "a' onclick=alert(4) \"><b>&copy;"


def cmir(*args, code=0):
    done = subprocess.run([CMIR, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


def phantom(rng, shape):
    """A body with changing organs, int16 HU, (columns, rows, slices)."""
    cols, rows, n = shape
    y, x = np.mgrid[-1:1:rows * 1j, -1:1:cols * 1j]
    voxels = np.full(shape, -1000, dtype=np.int16)
    a, b, c = rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.8), rng.uniform(1, 3)
    for k in range(n):
        plane = np.full(x.shape, -1000.0)
        inside = (x / a) ** 2 + (y / b) ** 2 < 1
        plane[inside] = rng.normal(30, 25, inside.sum())
        plane[((x - 0.3 * np.cos(c * k / n)) / 0.25) ** 2 + (y / 0.35) ** 2 < 1] = -800
        plane[x**2 + (y - 0.4) ** 2 < 0.01] = 700
        voxels[:, :, k] = plane.T.astype(np.int16)
    return voxels


def save_nifti(path, voxels, spacing, origin=(0, 0, 0)):
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = origin
    nib.save(nib.Nifti1Image(voxels, affine), path)


def save_series(folder, voxels, spacing, prefix, patient, description):
    """A CT series whose slices lie at z = 10, 10 + spacing, ..."""
    folder.mkdir(exist_ok=True)
    series, study = generate_uid(), generate_uid()
    for k in range(voxels.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.SeriesInstanceUID, ds.StudyInstanceUID = series, study
        ds.Modality, ds.PatientID, ds.SeriesDescription = "CT", patient, description
        ds.PatientSex, ds.PatientAge, ds.StudyDate = "F", "063Y", "20210305"
        ds.Manufacturer = HOSTILE_TEXT
        ds.InstanceNumber = k + 1
        ds.ImagePositionPatient = [0, 0, 10 + k * spacing[2]]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing = [spacing[1], spacing[0]]
        ds.Rows, ds.Columns = voxels.shape[1], voxels.shape[0]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept = 1, 0
        ds.PixelData = np.ascontiguousarray(voxels[:, :, k].T).tobytes()
        ds.save_as(folder / f"{prefix}{k}.dcm", enforce_file_format=True)
    return str(series)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An archive over NIfTI files of odd sizes and a folder of two DICOM series."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(3)
    scans = folder / "scans"
    scans.mkdir()
    shapes = {"big": ((500, 700, 9), (0.7, 0.9, 3)), "small": ((40, 30, 14), (9, 4, 2.5)),
              HOSTILE_NAME: ((64, 64, 11), (5, 5, 5))}
    voxels = {}
    for name, (shape, spacing) in shapes.items():
        voxels[name] = phantom(rng, shape)
        save_nifti(scans / f"{name}.nii.gz", voxels[name], spacing, (1, 2, -100))
    series = [save_series(scans / "dicom", phantom(rng, (64, 48, 8)), (4, 5, 6), prefix, HOSTILE_ID,
                          HOSTILE_TEXT) for prefix in "ab"]
    labels = folder / "labels.csv"
    with open(labels, "w", encoding="utf-8") as f:
        f.write("name,size,\"" + HOSTILE_TEXT.replace('"', '""') + "\"\n")
        f.write("big,12,\"" + HOSTILE_LABEL.replace('"', '""') + "\"\n")
    archive = folder / "archive"
    cmir("add", archive, scans)
    cmir("label", archive, labels)
    return {"folder": folder, "scans": scans, "archive": archive, "voxels": voxels,
            "shapes": shapes, "series": series}


class Page(html.parser.HTMLParser):
    """What a browser would see: elements and attributes after entities are resolved."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.open = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def write_report(made, query, *options):
    path = made["folder"] / "report.html"
    found = json.loads(cmir("search", made["archive"], query, "--report", path, "--json", *options)
                       .stdout)
    text = path.read_text(encoding="utf-8")
    return text, ET.fromstring(text), Page(text), found


def check_harmless(text, page):
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.elements:
        assert tag in {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p",
                       "section", "div", "dl", "dt", "dd", "b", "br", "span", "figure", "figcaption",
                       "img", "i", "table", "thead", "tbody", "tr", "th", "td", "a", "ul", "li",
                       "svg", "rect", "path", "circle", "text"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name == "src":
                assert tag == "img" and value.startswith("data:image/png;base64,")
            if name == "href":
                assert value[0] == "#" and value[1:] in ids
            if tag == "img" or tag == "svg":
                assert attributes.get("alt" if tag == "img" else "aria-label")
    style = re.search(r"<style>(.*?)</style>", text, re.S).group(1)
    assert "url(" not in style and "@import" not in style
    assert "\u202e" not in text
    assert text.lower().count(NOTICE) >= 3  # title, top, bottom


def decode_png(uri):
    """8-bit grey PNG without a PNG library."""
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"), validate=True)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, idat = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + length:at + 12 + length])[0]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">2I5B", body)
            assert (depth, colour, interlace) == (8, 0, 0)
        if kind == b"IDAT":
            idat += body
        at += 12 + length
    raw = np.frombuffer(zlib.decompress(idat), np.uint8).reshape(height, width + 1)
    out = np.zeros((height, width), np.uint8)
    before = np.zeros(width + 1, int)
    for r in range(height):
        line, now = raw[r, 1:].astype(int), np.zeros(width + 1, int)
        for c in range(width):
            left, up, corner = now[c], before[c + 1], before[c]
            p = left + up - corner
            paeth = min((abs(p - left), 0, left), (abs(p - up), 1, up), (abs(p - corner), 2, corner))[2]
            now[c + 1] = line[c] + [0, left, up, (left + up) // 2, paeth][raw[r, 0]] & 255
        out[r], before = now[1:], now
    return out


def average(line_matrix, n_out):
    """Area average along the last axis."""
    n_in = line_matrix.shape[-1]
    edges = np.arange(n_out + 1) * n_in / n_out
    lower, upper = np.arange(n_in), np.arange(1, n_in + 1)
    weight = np.clip(np.minimum(upper, edges[1:, None]) - np.maximum(lower, edges[:-1, None]), 0, None)
    return line_matrix @ (weight / weight.sum(axis=1, keepdims=True)).T


def expected_picture(voxels, spacing, k, shape, centre, width):
    plane = voxels[:, :, k].T.astype(float)  # rows to posterior, columns to the left
    small = average(average(plane, shape[1]).T, shape[0]).T
    return np.clip((small - (centre - width / 2)) / width, 0, 1) * 255


def best_figures(root, rank):
    """(alt, PNG) of the best pair in the first window: query, match."""
    section = root.find(f".//{HTML}section[@id='hit-{rank}']")
    figures = section.find(f".//{HTML}div[@class='pair']").findall(f"{HTML}figure")
    return [(f.find(f".//{HTML}img").get("alt"), decode_png(f.find(f".//{HTML}img").get("src")))
            for f in figures]


def test_hostile_strings_stay_text(made):
    text, root, page, found = write_report(made, f"{made['archive']}:small")
    assert len(found["Matches"]) == 4
    check_harmless(text, page)
    shown = "".join(root.itertext())
    for hostile in (HOSTILE_ID, HOSTILE_TEXT, HOSTILE_NAME, HOSTILE_LABEL.replace("\u202e", "\ufffd")):
        assert hostile in shown, hostile
        assert hostile not in re.sub(r"base64,[^\"]*", "", text)


@pytest.mark.parametrize("score, means", [("symmetric", "each slice of the volume in the query"),
                                          ("ordered", "none before its predecessor"),
                                          ("length-corrected", "by their length"),
                                          ("weighted", "count less"), ("std", "standard deviation")])
def test_says_how_it_was_made(made, score, means):
    text, root, _, found = write_report(made, f"{made['archive']}:small", "--slices", "2:9",
                                        "--score", score, "--where", "Slices > 0")
    shown = "".join(root.itertext())
    assert "slices 2 to 9 of 0 to 13" in shown
    assert found["Encoder"]["Sha256"] in shown and found["Encoder"]["Name"] in shown
    assert score in shown and means in shown and "--where" in shown
    assert f"{found['Candidates']} volumes passed" in shown
    for match in found["Matches"]:
        section = root.find(f".//{HTML}section[@id='hit-{match['Rank']}']")
        words = "".join(section.itertext())
        assert match["VolumeId"] in words
        assert f"{match['Score']:.4f}" in words
        assert f"slices {match['MatchSlices'][0]} to {match['MatchSlices'][1]}" in words
        for name, value in match["Labels"].items():
            assert value.replace("\u202e", "\ufffd") in words and name in words
    assert "2021-03-05" in shown and "63 years" in shown


def test_pictures_are_the_voxels(made):
    """The best pair of each NIfTI hit against a numpy area average in the soft tissue window."""
    _, root, _, found = write_report(made, f"{made['archive']}:small", "--exclude", "none")
    checked = 0
    for match in found["Matches"]:
        name = match["VolumeId"]
        if name not in made["voxels"]:
            continue
        for (alt, grey), which, k in zip(best_figures(root, match["Rank"]), ("small", name),
                                         (match["BestPair"]["QuerySlice"],
                                          match["BestPair"]["MatchSlice"])):
            shape, spacing = made["shapes"][which]
            assert f"slice {k}" in alt and "soft tissue" in alt
            assert max(grey.shape) <= 384
            mm = shape[0] * spacing[0], shape[1] * spacing[1]
            # Square pixels: the picture's sides are in proportion to millimetres.
            assert abs(grey.shape[1] / grey.shape[0] - mm[0] / mm[1]) < 0.02
            want = expected_picture(made["voxels"][which], spacing, k, grey.shape, 40, 400)
            assert np.abs(grey - want).max() <= 0.51, which
            checked += 1
    assert checked == 6


def test_every_picture_decodes(made):
    text, _, page, _ = write_report(made, f"{made['archive']}:big")
    sources = [a["src"] for tag, a in page.elements if tag == "img"]
    assert len(sources) >= 1 + 4 * (1 + 2 + 4)  # query; per hit thumbnail, best pair, two pairs
    for uri in sorted(set(sources), key=len)[:12]:
        assert max(decode_png(uri).shape) <= 384
    assert text.count("no picture") == 0


def path_points(svg, wanted):
    points = []
    for path in svg.findall(f"{SVG}path"):
        if path.get("class") == wanted:
            points += [tuple(map(int, p)) for p in re.findall(r"M(-?\d+) (-?\d+)h0", path.get("d"))]
    return points


def rectangle(svg, wanted):
    r = [r for r in svg.findall(f"{SVG}rect") if r.get("class") == wanted][0]
    return [int(r.get(a)) for a in ("x", "y", "width", "height")]


def test_strips_agree_with_json(made):
    _, root, _, found = write_report(made, f"{made['archive']}:small", "--slices", "1:12")
    for match in found["Matches"]:
        section = root.find(f".//{HTML}section[@id='hit-{match['Rank']}']")
        similarity, pairs = section.findall(f".//{SVG}svg")
        first, last = match["MatchSlices"]
        n = json.loads(cmir("show", made["archive"], match["VolumeId"], "--json").stdout)["Slices"]
        x0, _, width, _ = rectangle(similarity, "frame")
        x, _, w, _ = rectangle(similarity, "run")
        assert abs(x - (x0 + first / n * width)) <= 1
        assert abs(w - (last - first + 1) / n * width) <= 2
        inside = [m for m in match["SliceMatches"] if first <= m[1] <= last]
        outside = [m for m in match["SliceMatches"] if not first <= m[1] <= last]
        for wanted, matches in (("mark in", inside), ("mark", outside)):
            for svg in (similarity, pairs):
                assert len(path_points(svg, wanted)) == len(matches)
            for (px, _), m in zip(path_points(similarity, wanted), matches):
                assert abs(px - (x0 + (m[1] + 0.5) / n * width)) <= 1
        # Higher on the page is more similar.
        points = path_points(similarity, "mark in") + path_points(similarity, "mark")
        order = np.argsort([p[1] for p in points], kind="stable")
        values = np.array([m[2] for m in inside + outside])[order]
        heights = np.array([p[1] for p in points])[order]
        assert np.all((np.diff(values) <= 0) | (np.diff(heights) == 0))
        px0, py0, pwidth, pheight = rectangle(pairs, "frame")
        for (px, py), m in zip(path_points(pairs, "mark in"), inside):
            assert abs(px - (px0 + (m[0] - 1 + 0.5) / 12 * pwidth)) <= 1
            assert abs(py - (py0 + pheight - (m[1] + 0.5) / n * pheight)) <= 1


def test_changed_sources_say_so(made, tmp_path):
    """A report comes out whole where scans moved, shrank, shifted or broke."""
    scans = tmp_path / "scans"
    shutil.copytree(made["scans"], scans)
    copy = dict(made, archive=tmp_path / "archive", folder=tmp_path)
    cmir("add", copy["archive"], scans, "--previews", "none")
    (scans / "big.nii.gz").unlink()
    save_nifti(scans / f"{HOSTILE_NAME}.nii.gz", made["voxels"][HOSTILE_NAME][:, :, :7], (5, 5, 5),
               (1, 2, -100))
    for gone in (scans / "dicom").glob("a*.dcm"):
        gone.unlink()
    text, root, page, found = write_report(copy, f"{copy['archive']}:small")
    check_harmless(text, page)
    words = {m["VolumeId"]: "".join(root.find(f".//{HTML}section[@id='hit-{m['Rank']}']").itertext())
             for m in found["Matches"]}
    a, b = made["series"]
    assert "no picture" in words["big"] and "big.nii.gz" in words["big"]
    assert "has 7 slices now, 11 when it was indexed" in words[HOSTILE_NAME]
    assert f"volume {a} is not there any more" in words[a]
    assert "no picture" not in words[b]
    # The query's own pictures are still there, and moved slices are noticed.
    shape, spacing = made["shapes"]["small"]
    save_nifti(scans / "small.nii.gz", made["voxels"]["small"], spacing, (1, 2, -99))
    text, root, _, _ = write_report(copy, f"{copy['archive']}:small", "--limit", "1")
    assert "is not the one that was indexed" in "".join(root.itertext())
    # A file of another kind in its place.
    (scans / "small.nii.gz").write_bytes(b"not a scan")
    text, root, _, _ = write_report(copy, f"{copy['archive']}:small", "--limit", "1")
    assert "no picture" in text and "small.nii.gz" in text


def test_nothing_found(made):
    text, root, page, found = write_report(made, f"{made['archive']}:small", "--where",
                                           "Slices > 100000")
    assert found["Matches"] == []
    check_harmless(text, page)
    assert "No volume of the archive passed the filters" in text


def test_report_that_cannot_be_written(made):
    path = made["folder"] / "missing" / "report.html"
    done = cmir("search", made["archive"], f"{made['archive']}:small", "--report", path, code=1)
    assert str(path) in done.stderr


def test_mr_is_shown_by_its_own_range(tmp_path):
    """No HU: grey values from the volume's percentiles."""
    rng = np.random.default_rng(8)
    made = {"archive": tmp_path / "archive", "folder": tmp_path}
    for name in "pq":
        voxels = rng.gamma(2.0, 300.0, (32, 24, 9)).astype(np.int16)
        save_nifti(tmp_path / f"{name}.nii", voxels, (3, 3, 3))
    cmir("add", made["archive"], tmp_path / "p.nii", tmp_path / "q.nii", "--modality", "MR")
    _, root, page, found = write_report(made, f"{made['archive']}:p")
    (alt, _), (_, grey) = best_figures(root, 1)
    assert "percentiles" in alt
    plane = np.asarray(nib.load(tmp_path / "q.nii").dataobj)
    low, high = np.percentile(plane, [0.5, 99.5])
    want = np.clip((plane[:, :, found["Matches"][0]["BestPair"]["MatchSlice"]].T - low) / (high - low),
                   0, 1) * 255
    assert grey.shape == want.shape
    assert np.abs(grey - want).max() <= 2


HOSTILE_VALUES = ["<script>alert(5)</script>", "\"' onload=alert(6)>", "&lt;\u202ex"]


@pytest.fixture(scope="module")
def voted(tmp_path_factory):
    """Embeddings with labels, so that there is evidence: of 12 volumes 4 are of one patient."""
    folder = tmp_path_factory.mktemp("voted")
    rng = np.random.default_rng(12)
    lines = ["name,PatientID,\"<b onclick='alert(7)'>\",size,rare,own"]
    (folder / "volumes").mkdir()
    for i in range(12):
        rows = rng.normal(size=(6, 16))
        np.save(folder / "volumes" / f"v{i}.npy",
                (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4"))
        value = HOSTILE_VALUES[i % 3].replace('"', '""')
        lines.append(f'v{i},{"P" if i < 4 else ""},"{value}",{i + .5},{"r" if i == 11 else ""},{i}x')
    (folder / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    cmir("import", folder / "archive", folder / "volumes", "--external", "e", "--labels", folder / "labels.csv")
    return {"folder": folder, "archive": folder / "archive"}


def test_evidence(voted):
    """The section agrees with the JSON, links only to what is there, and is harmless."""
    text, root, page, found = write_report(voted, f"{voted['archive']}:v11", "--limit", 5, "--exclude", "none")
    check_harmless(text, page)
    section, = root.findall(f".//{HTML}section[@class='evidence']")
    words = "".join(section.itertext())
    hostile, own, rare, size = found["Evidence"]
    assert hostile["Label"] in words and f"Hit {found['EvidenceCases'][0]['Rank']} is of the query's own patient" in words
    assert "Not enough evidence: 1 of the 9 nearest cases" in words
    assert f"Nothing to count: {own['Labelled']} cases" in words
    assert f"weighted median {size['WeightedMedian']:g} of {size['Labelled']} cases" in words
    rows = section.findall(f".//{HTML}tbody/{HTML}tr")
    assert len(rows) == len(hostile["Values"]) == 3
    for row, value in zip(rows, hostile["Values"]):
        cells = row.findall(f"{HTML}td")
        said = ["".join(c.itertext()).strip() for c in cells]
        assert said[0] == value["Value"].replace("\u202e", "\ufffd")
        assert said[1] == f"{value['Count']} of {hostile['Labelled']}"
        low, high = value["ShareInterval"]
        assert said[3] == f"{100 * value['Share']:.0f} %, {100 * low:.0f} to {100 * high:.0f} %"
        assert said[5].split() == list(map(str, value["For"])) and said[6].split() == list(map(str, value["Against"]))
        assert [a.get("href") for a in cells[5].findall(f"{HTML}a")] == [f"#hit-{r}" for r in value["For"] if r <= 5]
        bar = cells[2].find(f"{SVG}svg")
        x0, _, width, _ = rectangle(bar, "frame")
        assert abs(rectangle(bar, "part")[2] - value["Share"] * width) <= 1
        a, b = re.match(r"M(\d+) 110H(\d+)", bar.find(f"{SVG}path").get("d")).groups()
        assert abs(int(a) - x0 - low * width) <= 1 and abs(int(b) - x0 - high * width) <= 1
        dot = int(bar.find(f"{SVG}circle").get("cx"))
        assert abs(dot - x0 - value["WeightedShare"] * width) <= 1
    assert "is not known" in words
    hidden = [c for c in found["EvidenceCases"] if c["Rank"] > 5]
    assert "Cases that are not shown below: " + ", ".join(f"{c['Rank']} {c['VolumeId']}" for c in hidden) in words


def test_evidence_calibrated(voted, tmp_path):
    archive = shutil.copytree(voted["archive"], tmp_path / "archive")
    made = {"folder": tmp_path, "archive": archive}
    said = json.loads(cmir("calibrate", archive, "--json").stdout)["Calibrations"]
    right = next(c for c in said if c["Label"].startswith("<b"))

    def words(*options):
        text, root, page, _ = write_report(made, f"{archive}:v9", *options)
        check_harmless(text, page)
        return "".join(root.find(f".//{HTML}section[@class='evidence']").itertext())
    assert f"was right in {right['Right']} of {right['Queries']} volumes" in words()
    assert "Out of date" not in words() and "which this search was not" not in words()
    assert "which this search was not" in words("--slices", "0:3")
    cmir("remove", archive, "v1")
    assert "Out of date" in words()


def test_no_labels_no_section(made):
    text, _, _, found = write_report(made, f"{made['archive']}:big")
    assert found["Evidence"] == [] and "nearest cases say" not in text
