"""A chapter's exercises as the reader wrote them, and as they are solved here."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
SOLUTIONS, YOURS = HERE / "solutions", HERE.parent.parent / "exercises"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test is for the solution, and for the reader's file if there is one; if not, one test says so."""
    if "chapter" not in metafunc.fixturenames:
        return
    name = f"{metafunc.module.__name__.rpartition('test_')[2]}.py"  # of test_chapter_03: chapter_03.py
    params = [pytest.param(SOLUTIONS / name, id="solution")]
    first = next(test for test in vars(metafunc.module) if test.startswith("test_"))
    if (YOURS / name).exists():
        params.append(pytest.param(YOURS / name, id="yours"))
    elif metafunc.function.__name__ == first:
        params.append(pytest.param(None, id="yours", marks=pytest.mark.skip(f"write exercises/{name}")))
    metafunc.parametrize("chapter", params, indirect=True)


@pytest.fixture
def chapter(request: pytest.FixtureRequest) -> ModuleType:
    """The module with the answers."""
    path: Path = request.param
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
