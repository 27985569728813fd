"""Secrets in settings are refused by name, wherever Hydra, W&B or a sweep would write them, and nothing is written."""

import pytest

from conftest import run_command
from modelcollapse.credentials import secret_problems, without_secrets
from modelcollapse.record.tracking import TrackingSettings, tracking_problems

CHAIN = ("experiment=paper_gaussian", "generations=1", "data.rows=20", "model.replicates=2")
SECRET = "it's the day's (word)"
URL = "https://user:secret-of-a-url@host/folder"
NAMES = (
    "SMTP_PASS",
    "GITHUB_PAT",
    "MYSQL_PWD",
    "PGPASSWORD",
    "DB_PASSWD",
    "SSHPASS",
    "GPG_PASSPHRASE",
    "CLOUD_CREDENTIALS",
    "CLOUD_CREDENTIAL",
    "OPENAI_API_KEYS",
    "CI_JOB_TOKEN",
    "GITHUBTOKEN",
    "apikey",
    "PRIVATE_KEY",
    "CLIENT_SECRET",
)
NO_SECRETS = ("OLDPWD", "PWD", "TOKENIZERS_PARALLELISM", "PATH", "KEYBOARD_LAYOUT", "COMPASS", "SSH_AUTH_SOCK")
URLS = (
    URL,
    "postgresql://user:p%40ssword@db.example:5432/studies",
    "https://ghp_0123456789abcdefABCDEF@github.com/me/data",
    "https://bucket.example/data.zip?version=3&X-Amz-Signature=0123456789abcdef",
)
HARMLESS_URLS = (
    "https://example.org:8080/a@b",
    "ssh://git@github.com/me/data",
    "sqlite:///search.db",
    "https://example.org/data?key=3",
    "https://<user>:<password>@host/",
)


@pytest.mark.parametrize("name", NAMES)
def test_secrets_of_the_environment_are_known_by_their_names(monkeypatch, name):
    monkeypatch.setenv(name, SECRET)
    assert without_secrets({"a": [f"of {SECRET}"]}) == {"a": [f"of <{name}>"]}
    (problem,) = secret_problems({"a": {"b": ["x", SECRET]}})
    assert problem.startswith(f"a.b[1]: holds the secret {name}")
    (problem,) = secret_problems({"a": {SECRET: 1}})
    assert problem.startswith("a: holds the secret")


def test_other_variables_are_no_secrets(monkeypatch):
    for name in NO_SECRETS:
        monkeypatch.setenv(name, "a longer value")
    assert without_secrets("a longer value") == "a longer value"


@pytest.mark.parametrize("url", URLS, ids=range(len(URLS)))
def test_secrets_within_urls_are_known(monkeypatch, url):
    shown = without_secrets(url)
    assert "<secret>" in shown
    assert without_secrets(shown) == shown
    assert list(secret_problems({"data": {"path": url}}))
    monkeypatch.setenv("DATABASE", url)
    kept = shown.partition("<secret>")
    secret = url[len(kept[0]) : len(url) - len(kept[2])]
    assert without_secrets(f"of {secret}") == "of <DATABASE>"


@pytest.mark.parametrize("url", HARMLESS_URLS, ids=range(len(HARMLESS_URLS)))
def test_other_urls_are_no_secrets(url):
    assert without_secrets(url) == url
    assert not list(secret_problems(url))


QUOTED = "'" + SECRET.replace("'", "\\'") + "'"
PLACES = {
    "hydra.run.dir": (f"hydra.run.dir={QUOTED}", "train"),
    "hydra.sweep.dir": (f"hydra.sweep.dir={QUOTED}", "sweep"),
    "hydra.job.name": (f"hydra.job.name={QUOTED}", "train"),
    "tracking.notes": (f"tracking.notes={QUOTED}", "train"),
    "tracking.tags[1]": (f"tracking.tags=[a,{QUOTED}]", "sweep"),
    "data.name": (f"data.name=a,{QUOTED}", "sweep"),
    "name": (f"name=a,{QUOTED}", "train -m"),
    "hydra.sweep.subdir": (f"hydra.sweep.subdir={QUOTED}", "train -m"),
    "paths.store": (f"paths.store='{URL}'", "train"),
    "hydra.launcher.x": (f"+hydra.launcher.x='{URL}'", "train -m"),
}
"""Setting -> how it is given, and to which command."""


@pytest.mark.parametrize("setting", PLACES)
def test_a_setting_that_holds_a_secret_is_refused_by_name_and_nothing_is_written(tmp_path, monkeypatch, setting):
    monkeypatch.setenv("SMTP_PASS", SECRET)
    (override, command) = PLACES[setting]
    configuration, *flags = command.split()
    answer = run_command([*CHAIN, override, *flags], tmp_path, tmp_path, configuration)
    assert answer.code == 2, answer.out
    assert f"{setting}: holds" in answer.err
    assert not [secret for secret in (SECRET, QUOTED, "secret-of-a-url") if secret in answer.out + answer.err]
    assert not list(tmp_path.iterdir())


def test_secrets_in_variables_of_wandb_are_refused(monkeypatch):
    monkeypatch.setenv("SMTP_PASS", SECRET)
    monkeypatch.setenv("WANDB_NOTES", f"with {SECRET}")
    (problem,) = tracking_problems(TrackingSettings(kind="wandb", mode="offline"))
    assert problem.startswith("WANDB_NOTES: holds the secret SMTP_PASS")
