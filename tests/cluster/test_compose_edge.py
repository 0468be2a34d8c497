"""An edge as it is really composed: prompts are judged by meaning too, in a process that ends with it."""

from pathlib import Path

import psutil
import pytest
from httpx2 import ASGITransport, AsyncClient

from cluster.compose_edge import build_edge
from edge.settings import Settings
from policies.load import load_policies
from serve_app.storage.opening import open_store
from tests.edge.edges import BASE_URL, Clock, env_for, started
from tests.edge.scripted_generator import ScriptedGenerator
from tests.tables import lay_tables


@pytest.mark.parametrize("category", ["hate", "violence_graphic"])
async def test_an_edge_judges_by_meaning_and_leaves_no_process_behind(tmp_path: Path, category: str):
    settings, policies = Settings.from_env(env_for(tmp_path)), load_policies()
    lay_tables(settings.database_url)
    app = build_edge(settings, policies, ScriptedGenerator(open_store(settings.store), Clock()))
    exemplar = policies.moderation.categories[category].exemplars[0]
    before = set(psutil.Process().children())
    async with started(app), AsyncClient(transport=ASGITransport(app), base_url=BASE_URL) as client:  # pyright: ignore[reportArgumentType]
        near = await client.post("/v1/images/generations", json={"prompt": exemplar})
        assert (near.status_code, near.json()["error"]["category"]) == (400, category)
        far = await client.post("/v1/moderations", json={"input": "a lighthouse in fog"})
        assert far.json()["results"][0]["flagged"] is False
        assert set(psutil.Process().children()) - before
    assert set(psutil.Process().children()) == before
