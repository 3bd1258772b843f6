"""Opens every page of the built site in headless Chromium and reports what is wrong.

    python docs/check_site.py build/site [--shots FOLDER] [--pages NAME ...]

Each page is opened at 1280 and 390 pixels, light and dark, over a local HTTP server: no broken
link or image, no sideways scrolling of the page. The search must find `hypernetize`. Needs
Chromium (Debian: `apt-get install chromium`) and the extra `docs`.
"""

import argparse
import asyncio
import base64
import functools
import http.server
import itertools
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import urllib.request

from tornado.websocket import websocket_connect

WIDTHS, THEMES = (1280, 390), ("light", "dark")
LOOK = """(() => {
  const shown = e => e.getClientRects().length > 0 && getComputedStyle(e).visibility !== "hidden";
  // The theme's boxes around the text scroll in place of the page.
  const boxes = [document.documentElement, ...document.querySelectorAll("main *:has(article)")];
  const wide = boxes.filter(box => box.scrollWidth > box.clientWidth + 1);
  return JSON.stringify({
    wide: wide.map(box => `${box.tagName}.${box.className}`),
    images: [...document.images].filter(i => shown(i) && !i.naturalWidth).map(i => i.src),
    links: [...document.querySelectorAll("a[href]")].map(a => a.href),
    ids: [...document.querySelectorAll("[id]")].map(e => e.id),
  });
})()"""
FOUND = """[...document.querySelectorAll("#search-results a")].map(a => a.href).join(" ")"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class Browser:
    """A page of a headless Chromium, by the DevTools protocol."""

    def __init__(self, executable, profile):
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        command = [executable, *flags, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = next(line for line in self.process.stderr if "DevTools listening" in line)
        self.port = urllib.parse.urlparse(line.split()[-1]).port
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.ids = itertools.count()

    async def open(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/json") as answer:
            pages = [p for p in json.load(answer) if p["type"] == "page"]
        self.socket = await websocket_connect(
            pages[0]["webSocketDebuggerUrl"], max_message_size=2**26
        )
        await self.send("Page.enable")

    async def send(self, method, **params):
        number = next(self.ids)
        await self.socket.write_message(
            json.dumps({"id": number, "method": method, "params": params})
        )
        while True:
            answer = json.loads(await self.socket.read_message())
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    async def look(self, expression):
        answer = await self.send("Runtime.evaluate", expression=expression)
        return answer["result"].get("value")

    async def resize(self, width, theme):
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": theme}]
        await self.send("Emulation.setEmulatedMedia", features=features)

    async def go(self, url):
        """Waits until the page has loaded, and its images."""
        await self.send("Page.navigate", url=url)
        for _ in range(200):
            state = "document.readyState + location.href"
            if await self.look(state) == f"complete{url}":
                return
            await asyncio.sleep(0.02)
        raise RuntimeError(f"{url} did not load")

    async def shot(self, path):
        answer = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))


async def check(browser, root, pages, site, shots):
    await browser.open()
    wrong, links, ids = [], {}, {}
    for width, theme in itertools.product(WIDTHS, THEMES):
        await browser.resize(width, theme)
        for page in pages:
            await browser.go(f"{site}/{page}")
            seen = json.loads(await browser.look(LOOK))
            where = f"{page} at {width}, {theme}"
            wrong += [f"{where}: scrolls sideways in {box}" for box in seen["wide"]]
            wrong += [f"{where}: no image {image}" for image in seen["images"]]
            links[page], ids[page] = seen["links"], set(seen["ids"])
            if shots:
                name = page.replace("/", "-").removesuffix(".html")
                await browser.shot(shots / f"{name}-{width}-{theme}.png")
    wrong += broken(root, site, links, ids)
    await browser.go(f"{site}/search.html?q=hypernetize")
    for _ in range(100):
        if "api/hypernetize.html" in (found := await browser.look(FOUND)):
            break
        await asyncio.sleep(0.1)
    else:
        wrong.append(f"the search does not find hypernetize: {found!r}")
    return wrong


def broken(root, site, links, ids):
    """Links inside the site to files or places that there are not."""
    for page, targets in links.items():
        for target in set(targets):
            url, _, place = target.partition("#")
            if not url.startswith(site):
                continue
            path = urllib.parse.unquote(urllib.parse.urlparse(url).path).strip("/") or "index.html"
            known = ids.get(path)
            if not (root / path).is_file():
                yield f"{page}: no file {path}"
            elif place and known is not None and urllib.parse.unquote(place) not in known:
                yield f"{page}: no place {path}#{place}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=pathlib.Path)
    parser.add_argument("--shots", type=pathlib.Path)
    parser.add_argument("--pages", nargs="*")
    args = parser.parse_args()
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        sys.exit("There is no Chromium: `apt-get install chromium`.")
    pages = sorted(str(path.relative_to(args.site)) for path in args.site.rglob("*.html"))
    pages = [p for p in pages if not p.startswith("_")]
    pages = [p for p in pages if not args.pages or p.removesuffix(".html") in args.pages]
    if args.shots:
        args.shots.mkdir(parents=True, exist_ok=True)
    handler = functools.partial(Quiet, directory=args.site)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site = f"http://127.0.0.1:{server.server_port}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(executable, profile)
        try:
            wrong = asyncio.run(check(browser, args.site, pages, site, args.shots))
        finally:
            browser.process.terminate()
            browser.process.wait()
    print(*wrong, sep="\n")
    print(f"{len(pages)} pages, {len(wrong)} faults")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
