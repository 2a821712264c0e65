"""What every test starts from: an empty measurement store and no colour."""

import pytest
from hypothesis import settings

from fwplan.spec import DeviceSpec, ModelSpec, RunSpec, TrainSpec

settings.register_profile("fwplan", max_examples=60, deadline=None)
settings.load_profile("fwplan")


@pytest.fixture(autouse=True)
def _own_store(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FWPLAN_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture(scope="session")
def run_spec():
    """Return a function that builds a RunSpec from the names of either section."""

    def build(device=None, data=None, **fields):
        model = {k: fields.pop(k) for k in list(fields) if k in ModelSpec.model_fields}
        model = {"n_layer": 12, "n_head": 12, "n_embd": 768} | model
        train = {"micro_batch_size": 16} | fields
        if isinstance(device, str):
            device = DeviceSpec(type=device)
        return RunSpec(model=ModelSpec(**model), train=TrainSpec(**train), device=device, data=data)

    return build
