"""Ways to read a video, compared: frames in order, the header's count, frames sought by number, rotation, speed,
size of the install.

python scripts/compare_video.py [--frames 60] [--out results/video/readers.json]

Every frame shows its own number in bits, so what a library calls frame n can be checked. Clips are written by PyAV;
a library that is not installed is
left out, and one that cannot be loaded is listed with the reason.
"""
from __future__ import annotations
import argparse, importlib, importlib.metadata, json, platform, struct, tempfile, time
from fractions import Fraction
from pathlib import Path

import numpy as np

BITS, SIDE = 8, 32


def picture(n, size=(240, 320)):
    "Frame n: its number as black and white blocks, over a slowly moving pattern"
    (H, W) = size
    y, x = np.mgrid[:H, :W]
    a = np.stack([(x + 3 * n) % 256, (y + 2 * n) % 256, (x + y) % 256], -1).astype(np.uint8) // 2 + 64
    for b in range(BITS): a[:SIDE, b * SIDE:(b + 1) * SIDE] = 235 * (n >> b & 1) + 10
    return a


def number(a):
    "The number that a frame shows; -1 where it is not upright"
    if a.shape[0] > a.shape[1]: return -1
    return sum(int(a[8:SIDE - 8, b * SIDE + 8:(b + 1) * SIDE - 8].mean() > 128) << b for b in range(BITS))


def write(path, times, codec="libx264", options=None, rotated=False, size=(240, 320)):
    "Frames at these seconds; `rotated` stores them on their side with the flag that says so"
    import av
    with av.open(str(path), "w") as f:
        s = f.add_stream(codec, rate=25, options=options or {})
        show = lambda n: np.ascontiguousarray(np.rot90(picture(n, size))) if rotated else picture(n, size)
        s.height, s.width = show(0).shape[:2]
        s.pix_fmt = "yuv420p"
        s.codec_context.time_base = tick = Fraction(1, 25 if path.suffix == ".avi" else 1000)
        for n, t in enumerate(times):
            frame = av.VideoFrame.from_ndarray(show(n), "rgb24")
            frame.pts, frame.time_base = round(t / tick), tick
            for p in s.encode(frame): f.mux(p)
        for p in s.encode(): f.mux(p)
    if rotated:   # the track header's matrix: a quarter turn clockwise
        b = bytearray(path.read_bytes())
        at = b.index(b"tkhd") + 4 + 40
        b[at:at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, s.height << 16, 0, 1 << 30)
        path.write_bytes(bytes(b))
    return path


def clips(folder, n):
    even = [i / 25 for i in range(n)]
    uneven = [i / 25 + .3 * (i > n // 3) + .013 * (i % 3) for i in range(n)]
    few = dict(g="12", bf="2")
    made = dict(even=("even.mp4", even, few), uneven=("uneven.mkv", uneven, few),
                late=("late.mkv", [t + 2 for t in even], few), transport=("transport.ts", even, few))
    out = {k: write(folder / f, t, options=o) for k, (f, t, o) in made.items()}
    out["rotated"] = write(folder / "rotated.mp4", even, options=few, rotated=True)
    whole = write(folder / "whole.mp4", even, "mpeg4")
    out["cut short"] = folder / "cut.avi"
    write(folder / "whole.avi", even, "mpeg4")
    out["cut short"].write_bytes((folder / "whole.avi").read_bytes()[: (folder / "whole.avi").stat().st_size * 6 // 10])
    whole.unlink()
    return out


class PyAV:
    package, import_name = "av", "av"
    def order(self, path):
        import av
        with av.open(path) as f:
            f.streams.video[0].thread_type = "AUTO"
            for frame in f.decode(video=0):
                yield np.rot90(frame.to_ndarray(format="rgb24"), (frame.rotation or 0) // 90)
    def count(self, path):
        import av
        with av.open(path) as f: return f.streams.video[0].frames
    def seek(self, path, n):
        import av
        with av.open(path) as f:   # the recipe that is passed around: frame number over rate
            s = f.streams.video[0]
            t = n / s.average_rate
            f.seek(int(t / s.time_base), stream=s)
            return next(np.rot90(g.to_ndarray(format="rgb24"), (g.rotation or 0) // 90) for g in f.decode(s)
                        if g.time >= float(t) - 1e-3)


class OpenCV:
    package, import_name = "opencv-python-headless", "cv2"
    def order(self, path):
        import cv2
        f = cv2.VideoCapture(path)
        while True:
            there, a = f.read()
            if not there: break
            yield a[..., ::-1]
        f.release()
    def count(self, path):
        import cv2
        return round(cv2.VideoCapture(path).get(cv2.CAP_PROP_FRAME_COUNT))
    def seek(self, path, n):
        import cv2
        f = cv2.VideoCapture(path)
        f.set(cv2.CAP_PROP_POS_FRAMES, n)
        there, a = f.read()
        if not there: raise ValueError("no frame")
        return a[..., ::-1]


class Torchcodec:
    package, import_name = "torchcodec", "torchcodec.decoders"
    def _open(self, path):
        from torchcodec.decoders import VideoDecoder
        return VideoDecoder(path, dimension_order="NHWC", seek_mode="exact")
    def order(self, path):
        for a in self._open(path): yield a.numpy()
    def count(self, path):
        from torchcodec.decoders import VideoDecoder
        return VideoDecoder(path, seek_mode="approximate").metadata.num_frames_from_header
    def seek(self, path, n): return self._open(path)[n].numpy()


class Imageio:
    package, import_name = "imageio", "imageio.v3"
    def order(self, path):
        import imageio.v3 as iio
        yield from iio.imiter(path, plugin="FFMPEG", output_params=["-fps_mode", "passthrough"])
    def count(self, path):
        import imageio.v3 as iio
        meta = iio.immeta(path, plugin="FFMPEG")
        return round(meta["fps"] * meta["duration"])
    def seek(self, path, n):
        import imageio.v3 as iio
        return iio.imread(path, index=n, plugin="FFMPEG")


READERS = dict(PyAV=PyAV(), OpenCV=OpenCV(), torchcodec=Torchcodec(), imageio=Imageio())


def installed_mb(package):
    "MB on the disk: the package and the libraries that its wheel brings"
    total = 0
    for name in [package] + (["imageio-ffmpeg"] if package == "imageio" else []):
        try: files = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError: continue
        total += sum(f.locate().stat().st_size for f in files if f.locate().is_file())
    return round(total / 2**20)


def tried(f):
    try: return f()
    except Exception as e: return f"{type(e).__name__}: {str(e).splitlines()[0][:80] if str(e) else ''}"


def look(reader, paths, n, big):
    row = {}
    for kind, path in paths.items():
        order = tried(lambda p=path: [number(a) for a in reader.order(str(p))])
        good = order if isinstance(order, str) else f"{sum(g == i for i, g in enumerate(order))} of {len(order)}"
        entry = dict(frames=good, header=tried(lambda p=path: reader.count(str(p))))
        if kind != "cut short":
            got = [tried(lambda p=path, i=i: number(reader.seek(str(p), i))) for i in range(0, n, 4)]
            entry["sought"] = f"{sum(g == i for g, i in zip(got, range(0, n, 4)))} of {len(got)}"
        row[kind] = entry
    best = 0
    for _ in range(3):
        t = time.perf_counter()
        m = sum(1 for _ in reader.order(str(big)))
        best = max(best, m / (time.perf_counter() - t))
    row["frames a second"] = round(best)
    return row


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--frames", type=int, default=60)
    p.add_argument("--out", type=Path, default=None)
    a = p.parse_args()
    table = {}
    with tempfile.TemporaryDirectory() as tmp:
        paths = clips(Path(tmp), a.frames)
        big = write(Path(tmp) / "big.mp4", [i / 25 for i in range(100)], size=(720, 1280))
        for name, reader in READERS.items():
            try: importlib.import_module(reader.import_name)
            except Exception as e:
                table[name] = dict(missing=type(e).__name__, mb=installed_mb(reader.package))
                continue
            row = look(reader, paths, a.frames, big)
            table[name] = dict(version=importlib.metadata.version(reader.package), mb=installed_mb(reader.package),
                               **row)
    out = dict(frames=a.frames, speed="1280x720 H.264, in order, to RGB; best of three",
               machine=f"{platform.system()} {platform.machine()}", readers=table)
    for name, row in table.items():
        print(name, json.dumps(row))
    if a.out:
        a.out.parent.mkdir(parents=True, exist_ok=True)
        a.out.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
