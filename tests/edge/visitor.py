"""A person with a browser: a page of Chromium, and everything that page complained about or asked of others."""

import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
INLINE_SCHEMES = ("data", "blob")


def find_chromium() -> str:
    """Skips where there is none; fails where everything must run."""
    path = shutil.which("chromium")
    if path is None and os.environ.get("SFUMATO_ALL") == "1":
        pytest.fail("Chromium is not installed")
    return path or pytest.skip("Chromium is not installed")


@asynccontextmanager
async def open_browser() -> AsyncGenerator[Browser]:
    path = find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        await browser.close()


@dataclass
class Visitor:
    page: Page
    host: str
    complaints: list[str] = field(default_factory=list[str])
    strangers: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.page.on("console", self._overhear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._notice)

    async def ask(self, prompt: str) -> None:
        await self.page.get_by_label("What would you like to see?").fill(prompt)
        await self.page.keyboard.press("Enter")

    async def choose(self, label: str, option: str) -> None:
        await self.page.get_by_label(label, exact=True).select_option(label=option)

    def _overhear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def _notice(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in INLINE_SCHEMES and parts.netloc != self.host:
            self.strangers.append(request.url)
