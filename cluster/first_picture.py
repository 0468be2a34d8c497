"""The first picture of `sfumato up`: made through the public API, saved, and told with what to try next."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.loopback import open_here

PROMPT = "a red apple"
PICTURE = Path("sfumato-first.png")
LIMIT_S = 120

TOLD = """\
saved as {picture}
address  {address}
gone at  {gone_at:%Y-%m-%d %H:%M %Z}

try it:
  curl {base_url}/v1/images/generations \\
    -H 'content-type: application/json' -d '{{"prompt": "a blue car"}}'

  from openai import OpenAI
  client = OpenAI(base_url="{base_url}/v1", api_key="anonymous")
  print(client.images.generate(prompt="a sunflower").data[0].url)
"""


class PictureFailed(Exception):
    """The message says which step failed, in one line."""


def first_picture(base_url: str) -> str:
    """Makes it, saves it in the current directory, and returns what to tell. Raises PictureFailed."""
    try:
        image = _post(f"{base_url}/v1/images/generations", {"prompt": PROMPT})["data"][0]
        here = base_url + urlsplit(image["url"]).path  # its address may lead through a proxy that does not run yet
        with open_here(here, timeout_s=LIMIT_S) as reply:
            picture = reply.read()
    except urllib.error.HTTPError as error:
        answer = error.read().decode(errors="replace")
        raise PictureFailed(f"the first picture failed with status {error.code}: {answer}") from error
    except (OSError, HTTPException) as error:
        raise PictureFailed(f"the first picture failed: {error}") from error
    try:
        PICTURE.write_bytes(picture)
    except OSError as error:
        raise PictureFailed(f"{PICTURE} cannot be written in the current directory: {error.strerror}") from error
    gone_at = datetime.fromtimestamp(image["expires_at"]).astimezone()
    return TOLD.format(picture=PICTURE, address=image["url"], gone_at=gone_at, base_url=base_url)


def _post(url: str, body: Mapping[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with open_here(request, timeout_s=LIMIT_S) as reply:
        return json.load(reply)
