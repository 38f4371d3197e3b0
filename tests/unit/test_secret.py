"""A secret has no text form."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Callable

import pytest

from proxy.secret import MASK, Secret

CANARY = "canary-4711"


def test_every_text_form_is_the_mask() -> None:
    secret = Secret(CANARY)
    forms = [str(secret), repr(secret), f"{secret}", f"{secret:>40}", f"{secret!r}", "%s" % secret]  # noqa: UP031
    assert forms == [MASK] * len(forms)


def test_it_stays_masked_inside_containers_and_log_records() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s %r", (Secret(CANARY),) * 2, None)
    assert CANARY not in repr([Secret(CANARY)])
    assert CANARY not in record.getMessage()


@pytest.mark.parametrize("dump", [pickle.dumps, json.dumps, copy.copy, copy.deepcopy, vars])
def test_it_is_neither_serialised_nor_copied(dump: Callable[[object], object]) -> None:
    with pytest.raises(TypeError) as caught:
        dump(Secret(CANARY))
    assert CANARY not in str(caught.value)


def test_equal_secrets_are_equal_and_hash_alike() -> None:
    assert Secret("a\udc80") == Secret("a\udc80")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a"))


def test_reveal_gives_the_text() -> None:
    assert Secret(CANARY).reveal() == CANARY
