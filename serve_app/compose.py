"""The one place that builds engines: for a Ray Serve replica, and in process for `sfumato up --no-ray`."""

from collections.abc import AsyncGenerator, Mapping, Set
from datetime import date

from policies.load import accepted_digests
from policies.schema import Model, Policies
from policies.size import parse_size
from serve_app.contract import Event, Failed, GenerateRequest, ModelStatus
from serve_app.delivery import Delivery
from serve_app.engine import Engine
from serve_app.errors import ModelUnavailable, PolicyMismatch
from serve_app.hash_list import HashList
from serve_app.marks import xmp_packet
from serve_app.pipelines.pipeline import RowSpec
from serve_app.pipelines.registry import load_pipeline
from serve_app.safety import Classifier, PictureSafety
from serve_app.settings import Settings
from serve_app.step_times import StepTimes
from serve_app.storage.opening import open_store


def build_engine(name: str, settings: Settings, policies: Policies) -> Engine:
    """Loads the model and measures it: seconds to minutes. Raises ModelUnavailable for a name `models.toml` lacks,
    ModerationUnavailable where pictures could not be checked."""
    model = policies.models.models.get(name)
    if model is None:
        raise ModelUnavailable(f"models.toml has no {name}")
    pipeline = load_pipeline(name, model, threads=settings.torch_threads)
    safety = PictureSafety(policies.moderation.images, HashList(settings.image_hashes), Classifier())
    delivery = Delivery(pipeline, open_store(settings.store), xmp_packet(model.title, _version(model.created)), safety)
    times = StepTimes(max_forward_rows=model.batching.max_forward_rows, max_step_s=model.batching.max_step_s)
    engine = Engine(name, pipeline, delivery, times, _usual_row(model))
    engine.start()
    return engine


class Engines:
    """Engines of several models in this process, as one `contract.Generator`.

    `digests` are those of the policies that each model's requests may be made under.
    """

    def __init__(self, engines: Mapping[str, Engine], digests: Mapping[str, Set[str]]) -> None:
        self._engines = engines
        self._digests = digests

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        engine = self._engines.get(request.model)
        if engine is None:
            yield Failed(ModelUnavailable.code, "nothing here serves this model")
            return
        if request.policy_digest not in self._digests[request.model]:
            yield Failed(PolicyMismatch.code, "edge and replica work from different policies", 5.0)
            return
        events = engine.generate(request)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()

    async def status(self, model: str) -> ModelStatus:
        if model not in self._engines:
            raise ModelUnavailable("nothing here serves this model")
        return await self._engines[model].status(model)

    def drain(self) -> None:
        for engine in self._engines.values():
            engine.drain()

    async def close(self) -> None:
        for engine in self._engines.values():
            await engine.close()


def build_engines(settings: Settings, policies: Policies) -> Engines:
    """An engine for each model of `settings.models`."""
    engines = {name: build_engine(name, settings, policies) for name in settings.models}
    images = policies.moderation.images
    return Engines(engines, {name: accepted_digests(policies.models.models[name], images) for name in engines})


def _usual_row(model: Model) -> RowSpec:
    width_px, height_px = parse_size(model.auto_size)
    return RowSpec("warm up", "", 0, model.steps.default, 1.0, width_px, height_px)


def _version(created: date) -> str:
    return created.isoformat()
