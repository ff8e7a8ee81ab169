import pytest
from fixtures.sessions import demo_settings


@pytest.fixture
def settings(tmp_path):
    """The settings of a run over four prompts a step, with a checkpoint every two steps."""
    return demo_settings(tmp_path)
