import json

import pytest

from modelcollapse.code_digests.lock import Lock, Locked, LockError

LOCK = Lock({"fit": Locked(2, ("aa", "bb")), "loss": Locked(1, ("cc",))})
CURRENT = {"fit": (2, "aa"), "loss": (1, "cc")}


def test_written_and_read(tmp_path):
    path = tmp_path / "lock.json"
    LOCK.write(path)
    assert Lock.read(path) == LOCK
    assert json.loads(path.read_text()) == {
        "fit": {"version": 2, "digests": ["aa", "bb"]},
        "loss": {"version": 1, "digests": ["cc"]},
    }
    before = path.read_text()
    Lock(dict(reversed(LOCK.entries.items()))).write(path)
    assert path.read_text() == before
    assert "\n  " in before
    assert before.endswith("}\n")
    assert [file.name for file in tmp_path.iterdir()] == ["lock.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected an object of names"),
        ("{", "lock.json: "),
        ('{"fit": {"version": 1}}', "fit: expected"),
        ('{"fit": {"version": true, "digests": ["a"]}}', "fit: expected"),
        ('{"fit": {"version": 1, "digests": []}}', "fit: expected"),
        ('{"fit": {"version": 1, "digests": ["a", "a"]}}', "fit: expected"),
        ('{"fit": {"version": 1, "digests": ["a"]}, "fit": {"version": 2, "digests": ["b"]}}', "'fit'.* stand twice"),
    ],
)
def test_what_is_no_lock_is_refused(tmp_path, text, message):
    (tmp_path / "lock.json").write_text(text)
    with pytest.raises(LockError, match=message):
        Lock.read(tmp_path / "lock.json")


def test_a_recipe_holds_the_first_digest_of_the_version_or_its_own():
    assert LOCK.identity("fit", 2, "aa") == {"version": 2, "digest": "aa"}
    assert LOCK.identity("fit", 2, "bb") == {"version": 2, "digest": "aa"}
    assert LOCK.identity("fit", 2, "xx") == {"version": 2, "digest": "xx"}
    # The same code under another version is not what was locked.
    assert LOCK.identity("fit", 3, "bb") == {"version": 3, "digest": "bb"}
    assert LOCK.identity("other", 1, "bb") == {"version": 1, "digest": "bb"}
    assert Lock.empty().identity("fit", 2, "bb") == {"version": 2, "digest": "bb"}


def test_problems():
    assert LOCK.problems(CURRENT) == []
    assert LOCK.problems({"fit": (2, "bb"), "loss": (1, "cc")}) == []
    found = LOCK.problems({"fit": (1, "aa"), "new": (1, "dd")})
    assert found == [
        "fit has version 1, lower than the locked version 2",
        "loss is locked but no longer exists",
        "new is not locked",
    ]
    found = LOCK.problems({"fit": (3, "aa"), "loss": (1, "xx")})
    assert [line.split(" ")[0] for line in found] == ["fit", "loss:"]
    assert "changed and is not locked" in found[1]
    assert len(Lock.empty().problems(CURRENT)) == 2


def test_new_names_and_raised_versions_start_a_list():
    assert LOCK.updated(CURRENT) == LOCK
    raised = LOCK.updated({"fit": (3, "bb"), "loss": (1, "cc"), "new": (1, "ee")})
    assert raised.entries == {"fit": Locked(3, ("bb",)), "loss": Locked(1, ("cc",)), "new": Locked(1, ("ee",))}


def test_equal_code_is_appended_and_the_first_stays_in_front():
    changed = {**CURRENT, "fit": (2, "xx")}
    updated = LOCK.updated(changed, equal=["fit"])
    assert updated.entries["fit"] == Locked(2, ("aa", "bb", "xx"))
    assert updated.updated(changed, equal=["fit"]) == updated
    assert updated.identity("fit", 2, "xx") == LOCK.identity("fit", 2, "aa")
    assert updated.problems(changed) == []


@pytest.mark.parametrize(
    ("current", "options", "messages"),
    [
        ({**CURRENT, "fit": (2, "xx")}, {}, ["raise its version to 3, or type --equal fit"]),
        ({**CURRENT, "fit": (1, "aa")}, {}, ["set its version to 2 or more"]),
        ({"fit": (2, "aa")}, {}, ["type --removed loss"]),
        (CURRENT, {"equal": ["absent"]}, ["--equal absent: there is no such name"]),
        ({**CURRENT, "fit": (3, "xx")}, {"equal": ["fit"]}, ["--equal fit: version 3 is new"]),
        (CURRENT, {"removed": ["fit"]}, ["--removed fit: it still exists"]),
        (CURRENT, {"removed": ["absent"]}, ["--removed absent: it is not locked"]),
        ({"fit": (2, "xx")}, {}, ["--equal fit", "--removed loss"]),
    ],
)
def test_other_changes_say_what_to_type(current, options, messages):
    with pytest.raises(LockError) as raised:
        LOCK.updated(current, **options)
    for message in messages:
        assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == len(messages)


def test_a_name_that_no_longer_exists_is_dropped():
    assert LOCK.updated({"fit": (2, "aa")}, removed=["loss"]).entries == {"fit": Locked(2, ("aa", "bb"))}
