"""Fixtures: the binary under test, the models, and the references loaded once for the session."""
import os
import pathlib
import shutil
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
sys.path[:0] = [str(HERE), str(GOLDEN)]

import models  # noqa: E402
from moxie_cli import Moxie  # noqa: E402


def pytest_report_header(config):
    return f"moxie: {os.environ.get('MOXIE_BINARY', '(MOXIE_BINARY is not set)')}"


@pytest.fixture(scope="session")
def moxie(tmp_path_factory):
    binary = os.environ.get("MOXIE_BINARY") or str(HERE.parents[1] / "build" / "release" / "moxie")
    if not os.access(binary, os.X_OK):
        pytest.exit(f"no moxie binary at {binary}: build it, or set MOXIE_BINARY", returncode=1)
    return Moxie(binary, home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def golden():
    return GOLDEN


@pytest.fixture(scope="session")
def smollm_gguf():
    return models.smollm_gguf()


@pytest.fixture(scope="session")
def smollm_tokenizer(smollm_gguf):
    return models.smollm_tokenizer(smollm_gguf)


@pytest.fixture(scope="session")
def smollm(smollm_gguf):
    """SmolLM2 in f32 on the dequantised weights, as transformers reads them. Leave it as it is."""
    return models.load_gguf(smollm_gguf)


@pytest.fixture(scope="session")
def smollm_hf(smollm, smollm_tokenizer, tmp_path_factory):
    """The same model as a Hugging Face directory written by transformers."""
    folder = tmp_path_factory.mktemp("smollm_hf")
    models.plain_copy(smollm).save_pretrained(folder)
    smollm_tokenizer.save_pretrained(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def gemma_gguf():
    return models.gemma_gguf()


@pytest.fixture(scope="session")
def gemma(gemma_gguf):
    return models.load_gguf(gemma_gguf)
