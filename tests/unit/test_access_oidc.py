"""ID tokens: what is believed, of whom, for how long; everything else is refused with a reason."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.access.claims import LONGEST, Job, refusal
from proxy.access.keys import ALGORITHMS, GRACE, Keys, parse_keys
from proxy.access.oidc import MAX_KNOWN, Oidc
from proxy.errors import IssuerUnavailable, Unauthenticated
from proxy.model import Principal
from tests.origin.oidc import AUDIENCE, JobIssuer, SigningKey, b64

NOW = 1_800_000_000.0
ALL = ("RS256", "PS256", "ES256", "EdDSA")


class Now:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> float:
        return self.time


class Farm:
    """A judge of ID tokens, the issuer it believes (its documents, without the wire) and time."""

    def __init__(self, *algorithms: str) -> None:
        self.now = Now()
        self.keys = {name: SigningKey.make(f"key-{name}", name) for name in algorithms}
        self.published: Any = [key.jwk() for key in self.keys.values()]
        self.away = False
        self.defect: Exception | None = None
        self.asked: list[str] = []
        self.issuer = JobIssuer(next(iter(self.keys.values())), self.now)
        self.oidc = self.judge()

    def judge(self, *jobs: Job) -> Oidc:
        return Oidc(jobs or (self.job(),), self.fetch, wall=self.now, clock=self.now)

    def job(self, **more: Any) -> Job:
        given: dict[str, Any] = {
            "name": "ci",
            "issuer": self.issuer.url,
            "audience": AUDIENCE,
            "claims": (("repository", "my-org/*"),),
            "ecosystems": frozenset({"python"}),
            **more,
        }
        return Job(**given)

    async def fetch(self, url: str, issuer: str) -> object:
        assert issuer == self.issuer.url
        self.asked.append(url.removeprefix(issuer))
        await asyncio.sleep(0)
        if self.away:
            raise IssuerUnavailable("it is away")
        if self.defect is not None:
            raise self.defect
        if url.endswith("/.well-known/openid-configuration"):
            return {"issuer": issuer, "jwks_uri": f"{issuer}/jwks"}
        return {"keys": self.published}

    @property
    def askings(self) -> int:
        return self.asked.count("/jwks")

    async def refused(self, token: str) -> str:
        with pytest.raises(Unauthenticated) as caught:
            await self.oidc.identify(token)
        return caught.value.detail


@pytest.fixture
async def farm() -> AsyncIterator[Farm]:
    farm = Farm("ES256")
    yield farm
    await farm.oidc.close()


async def test_a_token_of_the_job_is_its_principal_named_by_its_subject(farm: Farm) -> None:
    assert await farm.oidc.identify(farm.issuer.mint()) == Principal(
        "ci:repo:my-org/app:ref:refs/heads/main", "oidc", frozenset({"python"})
    )


@pytest.mark.parametrize("algorithm", ALL)
async def test_each_allowed_algorithm_is_verified(algorithm: str) -> None:
    farm = Farm(algorithm)
    assert await farm.oidc.identify(farm.issuer.mint()) is not None
    other = SigningKey.make(f"key-{algorithm}", algorithm)
    assert "signature does not hold" in await farm.refused(farm.issuer.mint(key=other))


def test_the_allowed_algorithms_are_these() -> None:
    assert frozenset(ALL) == ALGORITHMS


Forge = Callable[[Farm], str]
KID = {"kid": "key-RS256"}
OTHER = SigningKey.make("other", "ES256")


def _flipped(farm: Farm) -> str:
    head, payload, signature = farm.issuer.mint().split(".")
    body = base64.urlsafe_b64decode(payload + "==").replace(b"my-org/app", b"my-org/apq")
    return ".".join((head, b64(body), signature))


FORGERIES: dict[str, tuple[Forge, str]] = {
    "alg none": (lambda f: f.issuer.forge({"alg": "none", **KID}, f.issuer.claims()), "not signed"),
    "alg None": (lambda f: f.issuer.forge({"alg": "None", **KID}, f.issuer.claims()), "not signed"),
    "no alg": (lambda f: f.issuer.forge(KID, f.issuer.claims(), f.issuer.key), "not signed"),
    "alg a list": (
        lambda f: f.issuer.forge({"alg": ["RS256"], **KID}, f.issuer.claims(), f.issuer.key),
        "not signed",
    ),
    "HMAC with the public key": (
        lambda f: f.issuer.forge({"alg": "HS256", **KID}, f.issuer.claims(), f.issuer.key.pem()),
        "not signed",
    ),
    "HMAC called RS256": (
        lambda f: f.issuer.forge({"alg": "RS256", **KID}, f.issuer.claims(), f.issuer.key.pem()),
        "signature",
    ),
    "PS256 under RS256's key": (
        lambda f: f.issuer.mint(key=SigningKey("key-RS256", "PS256", f.issuer.key.private)),
        "does not know the key",
    ),
    "ES256 under RSA's key id": (
        lambda f: f.issuer.mint(key=SigningKey.make("key-RS256", "ES256")),
        "does not know the key",
    ),
    "no signature": (
        lambda f: f.issuer.forge({"alg": "RS256", **KID}, f.issuer.claims()),
        "signature",
    ),
    "another payload": (_flipped, "signature"),
    "unknown critical header": (
        lambda f: f.issuer.forge(
            {"alg": "RS256", "crit": ["b"], "b": 1, **KID}, f.issuer.claims(), f.issuer.key
        ),
        "signature",
    ),
    "detached payload": (
        lambda f: f.issuer.forge(
            {"alg": "RS256", "crit": ["b64"], "b64": False, **KID},
            f.issuer.claims(),
            f.issuer.key,
        ),
        "signature",
    ),
    "a key of its own in the header": (
        lambda f: f.issuer.forge(
            {"alg": "ES256", "jwk": OTHER.jwk(), "kid": "other"}, f.issuer.claims(), OTHER
        ),
        "does not know the key",
    ),
    "key id no text": (
        lambda f: f.issuer.forge({"alg": "RS256", "kid": 3}, f.issuer.claims(), f.issuer.key),
        "not signed",
    ),
    "stray bits behind the signature": (lambda f: f.issuer.mint() + "A", "signature"),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_token_is_refused(name: str) -> None:
    farm = Farm("RS256")
    forge, words = FORGERIES[name]
    assert words in await farm.refused(forge(farm))


@pytest.mark.parametrize(
    "token",
    [
        "cgrp_x",
        "ey",
        "ey.ey.ey",
        "eyJhbGciOiJSUzI1NiJ9",
        f"{b64(b'[]')}.{b64(b'{}')}.",
        f"{b64(b'{}')}.{b64(b'{')}.",
        f"{b64(b'{}')}.{b64(b'{}')}.x.y",
        f"{b64(b'{}')}.{b64(b'{}')}.",
        JobIssuer.forge({}, {"iss": ["x"]}),
        JobIssuer.forge({}, {"iss": "https://stranger.example"}),
        JobIssuer.forge({}, b'{"exp": Infinity}'),
        f"{b64(b'{}')}.{b64(b'[' * 3000)}.",
    ],
)
async def test_what_is_no_token_of_a_configured_issuer_is_nobodys(farm: Farm, token: str) -> None:
    assert await farm.oidc.identify(token) is None
    assert farm.asked == []


@given(st.text("eyJ.-_aA0{}\"'", max_size=60))
def test_no_text_breaks_the_judge(text: str) -> None:
    farm = Farm.__new__(Farm)
    farm.now = Now()
    judge = Oidc(
        [Job("ci", "https://i.example", "a", (), frozenset())],
        farm.fetch,
        wall=farm.now,
        clock=farm.now,
    )
    assert asyncio.run(judge.identify("ey" + text)) is None


# --- claims -------------------------------------------------------------------------------------

JOB = Job(
    "ci",
    "https://i.example",
    "me",
    (("ref", "refs/heads/*"), ("repository", "my-org/app")),
    frozenset({"python"}),
)
GOOD: dict[str, Any] = {
    "iss": "https://i.example",
    "aud": "me",
    "exp": NOW + 300,
    "ref": "refs/heads/main",
    "repository": "my-org/app",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"aud": ["you", "me"]}, ""),
        ({"aud": "you"}, "another audience"),
        ({"aud": ["you"]}, "another audience"),
        ({"aud": []}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"aud": "me, too"}, "another audience"),
        ({"aud": {"me": 1}}, "another audience"),
        ({"iss": "https://i.example/"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"exp": NOW - 59}, ""),
        ({"exp": NOW - 60}, "expired"),
        ({"exp": None}, "when it ends"),
        ({"exp": str(int(NOW) + 300)}, "when it ends"),
        ({"exp": True}, "when it ends"),
        ({"nbf": NOW + 60}, ""),
        ({"nbf": NOW + 61}, "not valid yet"),
        ({"nbf": "soon"}, "is none"),
        ({"iat": NOW + 60}, ""),
        ({"iat": NOW + 61}, "not valid yet"),
        ({"iat": NOW - 10**9}, ""),
        ({"iat": -1, "nbf": -0.5}, ""),
        ({"exp": NOW + LONGEST}, ""),
        ({"exp": NOW + LONGEST + 1}, "more than a year"),
        ({"exp": 253402300799}, "more than a year"),
        ({"exp": -1}, "expired"),
        ({"exp": -0.0}, "expired"),
        ({"exp": -(10**400)}, "when it ends"),
        ({"exp": 10**400}, "when it ends"),
        ({"exp": 1e308}, "when it ends"),
        ({"exp": float("inf")}, "when it ends"),
        ({"exp": float("-inf")}, "when it ends"),
        ({"exp": float("nan")}, "when it ends"),
        ({"exp": [NOW + 300]}, "when it ends"),
        ({"iat": 10**400}, "is none"),
        ({"iat": float("nan")}, "is none"),
        ({"nbf": -(10**400)}, "is none"),
        ({"nbf": float("-inf")}, "is none"),
        ({"nbf": float("inf")}, "is none"),
        ({"nbf": True}, "is none"),
        ({"repository": "my-org/app2"}, "repository"),
        ({"repository": "my-org/ap"}, "repository"),
        ({"repository": "my-org/*"}, "repository"),
        ({"repository": None}, "repository"),
        ({"repository": ["x", "my-org/app"]}, ""),
        ({"repository": [["my-org/app"]]}, "repository"),
        ({"repository": {"my-org/app": 1}}, "repository"),
        ({"ref": "refs/heads/"}, ""),
        ({"ref": "refs/tags/1"}, "ref"),
    ],
)
def test_a_token_has_to_say_what_is_asked(change: dict[str, Any], words: str) -> None:
    payload = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    reason = refusal(JOB, payload, NOW)
    assert words in reason
    assert bool(reason) == bool(words)


TIMES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(),
    st.integers(200, 5000).map(lambda power: 10**power),
    st.integers(200, 5000).map(lambda power: -(10**power)),
)


@given(TIMES, TIMES, TIMES)
def test_no_time_breaks_the_judge_or_is_good_for_ever(exp: float, nbf: float, iat: float) -> None:
    said = {**GOOD, "exp": exp, "nbf": nbf, "iat": iat}
    if not refusal(JOB, said, NOW):
        assert NOW - 60 < exp <= NOW + LONGEST
        assert max(nbf, iat) <= NOW + 60


@pytest.mark.parametrize("exp", ["1e999", "-1e999", "1e308", "9" * 400, "-" + "9" * 400, "NaN"])
@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
async def test_a_signed_token_with_an_impossible_time_is_refused(
    farm: Farm, name: str, exp: str
) -> None:
    claims = json.dumps(farm.issuer.claims(**{name: "HERE"})).replace('"HERE"', exp).encode()
    key = farm.issuer.key
    token = farm.issuer.forge({"alg": key.algorithm, "kid": key.id}, claims, key)
    if exp == "NaN":  # no JSON, so no ID token
        assert await farm.oidc.identify(token) is None
    else:
        assert await farm.refused(token)


@pytest.mark.parametrize(
    ("value", "wanted", "holds"),
    [(True, "true", True), (False, "true", False), (7, "7", True), (1, "true", False)],
)
def test_numbers_and_booleans_are_compared_as_they_are_written(
    value: object, wanted: str, *, holds: bool
) -> None:
    job = Job("ci", "https://i.example", "me", (("protected", wanted),), frozenset())
    assert (not refusal(job, {**GOOD, "protected": value}, NOW)) is holds


def test_a_subject_cannot_write_fields_of_a_log_line() -> None:
    name = JOB.principal({"sub": 'a b"\n\u2028=' + "x" * 300}).name
    assert name.startswith("ci:a_b___=x")
    assert len(name) == 160


async def test_of_several_stanzas_the_first_that_fits_counts(farm: Farm) -> None:
    farm.oidc.replace(
        [
            farm.job(name="a", claims=(("repository", "x/*"),)),
            farm.job(name="b", ecosystems=frozenset({"java"})),
            farm.job(name="c"),
        ]
    )
    found = await farm.oidc.identify(farm.issuer.mint())
    assert found is not None
    assert found.name.partition(":")[0] == "b"
    assert found.ecosystems == frozenset({"java"})


# --- remembered ---------------------------------------------------------------------------------


async def test_a_verified_token_is_remembered_until_it_ends(farm: Farm) -> None:
    token = farm.issuer.mint()
    first = await farm.oidc.identify(token)
    farm.published = []
    farm.now.time += 299
    assert await farm.oidc.identify(token) is first
    farm.now.time += 61
    assert "expired" in await farm.refused(token)


async def test_other_stanzas_are_asked_at_once(farm: Farm) -> None:
    token = farm.issuer.mint()
    await farm.oidc.identify(token)
    farm.oidc.replace([farm.job(claims=(("repository", "other/*"),))])
    assert "repository" in await farm.refused(token)
    assert farm.askings == 1, "the keys of an issuer that stays are kept"
    farm.oidc.replace([])
    assert await farm.oidc.identify(token) is None


async def test_what_is_remembered_is_bounded(farm: Farm) -> None:
    await farm.oidc.identify(farm.issuer.mint())
    known = farm.oidc._known
    assert len(known) == 1
    entry = next(iter(known.values()))
    known.update({number.to_bytes(32, "big"): entry for number in range(MAX_KNOWN - 1)})
    await farm.oidc.identify(farm.issuer.mint(sub="another"))
    assert len(known) == MAX_KNOWN


async def test_a_token_signed_with_a_withdrawn_key_is_forgotten(farm: Farm) -> None:
    token = farm.issuer.mint()
    await farm.oidc.identify(token)
    farm.published = [OTHER.jwk()]
    farm.now.time += 200
    with pytest.raises(Unauthenticated):  # an unknown key: the keys are learnt anew
        await farm.oidc.identify(farm.issuer.mint(key=SigningKey.make("new", "ES256")))
    assert "does not know the key" in await farm.refused(token)


async def learnt(farm: Farm) -> int:
    """Have the keys asked for as SIGHUP does; how often they were so far."""
    await farm.oidc.renew()
    return farm.askings


@pytest.mark.parametrize("published", ["another key under its id", "no key", "no usable key"])
async def test_a_key_that_is_not_told_any_more_ends_the_tokens_that_it_signed(
    farm: Farm, published: str
) -> None:
    token = farm.issuer.mint()
    assert await farm.oidc.identify(token) is not None
    name = farm.issuer.key.id
    farm.published = {
        "another key under its id": [SigningKey.make(name, "ES256").jwk()],
        "no key": [],
        "no usable key": [SigningKey.make(name, "ES384").jwk()],
    }[published]
    assert await learnt(farm) == 2
    assert await farm.refused(token)
    assert await farm.refused(farm.issuer.mint(sub="new"))
    farm.published = [farm.issuer.key.jwk()]
    await learnt(farm)
    assert await farm.oidc.identify(token) is not None


async def test_a_key_that_may_be_used_with_another_algorithm_only_ends_its_tokens() -> None:
    farm = Farm("RS256")
    token = farm.issuer.mint()
    assert await farm.oidc.identify(token) is not None
    farm.published = [{**farm.issuer.key.jwk(), "alg": "PS256"}]
    await learnt(farm)
    assert "does not know the key" in await farm.refused(token)


async def test_keys_that_stay_among_others_end_no_token(farm: Farm) -> None:
    token = farm.issuer.mint()
    first = await farm.oidc.identify(token)
    farm.published = [OTHER.jwk(), farm.issuer.key.jwk()]
    await learnt(farm)
    assert await farm.oidc.identify(token) is first


async def test_a_new_key_under_a_known_id_is_learnt_when_a_token_needs_it(farm: Farm) -> None:
    await farm.oidc.identify(farm.issuer.mint())
    new = SigningKey.make(farm.issuer.key.id, "ES256")
    farm.published = [new.jwk()]
    assert await farm.oidc.identify(farm.issuer.mint(key=new)) is not None
    assert "signature" in await farm.refused(farm.issuer.mint(sub="old"))
    for _ in range(5):
        await farm.refused(farm.issuer.mint(key=SigningKey.make(new.id, "ES256")))
    assert farm.askings == 2, "strangers set off one asking a minute at most"


async def test_an_issuer_that_stays_silent_is_believed_for_a_day(farm: Farm) -> None:
    token = farm.issuer.mint(exp=int(NOW + 10 * GRACE))
    first = await farm.oidc.identify(token)
    farm.away = True
    farm.now.time += GRACE
    assert await farm.oidc.identify(token) is first
    assert await farm.oidc.identify(farm.issuer.mint()) is not None
    farm.now.time += 1
    for each in (token, farm.issuer.mint()):
        with pytest.raises(IssuerUnavailable, match="for too long"):
            await farm.oidc.identify(each)
    farm.away = False
    farm.now.time += 5
    assert await farm.oidc.identify(token) == first


async def test_asked_anew_is_asked_after_the_wish(farm: Farm) -> None:
    token = farm.issuer.mint()
    first = asyncio.create_task(farm.oidc.identify(token))
    for _ in range(2):
        await asyncio.sleep(0)
    assert farm.asked
    await farm.oidc.renew()
    assert farm.askings == 2
    assert await first is not None


async def test_asking_anew_does_not_break_on_an_issuer_that_is_away(farm: Farm) -> None:
    token = farm.issuer.mint()
    await farm.oidc.identify(token)
    farm.away = True
    await farm.oidc.renew()
    assert await farm.oidc.identify(token) is not None


async def test_a_defect_while_keys_are_learnt_leaves_the_last_known_ones(
    farm: Farm, caplog: pytest.LogCaptureFixture
) -> None:
    token = farm.issuer.mint()
    await farm.oidc.identify(token)
    farm.defect = ZeroDivisionError("an inner detail")
    await farm.oidc.renew()
    assert await farm.oidc.identify(token) is not None
    assert "an inner detail" in caplog.text
    farm.defect = None
    farm.published = [OTHER.jwk()]
    await farm.oidc.renew()
    assert await farm.refused(token)


async def test_what_was_judged_by_an_issuer_that_was_taken_out_meanwhile_is_not_kept(
    farm: Farm,
) -> None:
    judging = asyncio.create_task(farm.oidc.identify(farm.issuer.mint()))
    await asyncio.sleep(0)
    farm.oidc.replace([])
    farm.oidc.replace([farm.job()])
    await judging
    assert farm.oidc._known == {}


# --- keys ---------------------------------------------------------------------------------------


async def test_an_unknown_key_is_asked_for_once_a_minute_at_most(farm: Farm) -> None:
    await farm.oidc.identify(farm.issuer.mint())
    new = SigningKey.make("new", "ES256")
    for _ in range(5):
        assert "does not know the key" in await farm.refused(farm.issuer.mint(key=new))
    assert farm.askings == 2
    farm.published = [new.jwk()]
    farm.now.time += 60
    assert await farm.oidc.identify(farm.issuer.mint(key=new)) is not None
    assert farm.askings == 3


async def test_keys_are_learnt_anew_every_hour(farm: Farm) -> None:
    keys = Keys(farm.issuer.url, farm.fetch, clock=farm.now)
    name = farm.issuer.key.id
    assert await keys.find(name, "ES256") is not None
    farm.published = [OTHER.jwk()]
    for seconds, askings in ((3599, 1), (1, 2)):
        farm.now.time += seconds
        keys.poll()
        await keys._ask() if keys._task else None
        assert farm.askings == askings
    assert await keys.find("other", "ES256") is not None


async def test_the_last_known_keys_count_while_the_issuer_is_away(farm: Farm) -> None:
    await farm.oidc.identify(farm.issuer.mint())
    farm.away = True
    for _ in range(48):
        farm.now.time += 1800
        farm.oidc.poll()
        await asyncio.sleep(0.001)
        assert await farm.oidc.identify(farm.issuer.mint()) is not None
    assert len(farm.asked) > 10


@pytest.mark.parametrize("data", [[], {}, None, {"keys": {}}, {"keys": [3]}, {"keys": [[]]}])
def test_what_is_no_key_set_says_nothing(data: object) -> None:
    with pytest.raises(ValueError, match="no JWK set"):
        parse_keys(data)


@pytest.mark.parametrize("keys", [[], [{}], [{"kty": "oct", "k": "AAAA"}], [{"kty": ["RSA"]}]])
def test_a_key_set_without_a_usable_key_is_one(keys: list[Any]) -> None:
    assert parse_keys({"keys": keys}) == ()


JWK = st.fixed_dictionaries(
    {"kty": st.sampled_from(["RSA", "EC", "OKP"])},
    optional={
        name: st.one_of(st.none(), st.integers(), st.text(max_size=50), st.lists(st.text()))
        for name in ("n", "e", "x", "y", "crv", "alg", "use", "kid", "d", "p", "key_ops", "x5c")
    },
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a machine may be busy with other tests
@given(st.lists(JWK, max_size=3), st.sampled_from(["P-256", "Ed25519"]))
def test_no_key_of_a_set_breaks_the_others(odd: list[Any], curve: str) -> None:
    good = OTHER.jwk()
    found = parse_keys({"keys": [*odd, *({**item, "crv": curve} for item in odd), good]})
    assert found[-1].id == "other"


async def test_rubbish_in_place_of_keys_leaves_the_last_known_ones(farm: Farm) -> None:
    await farm.oidc.identify(farm.issuer.mint())
    farm.published = ["rubbish"]
    farm.now.time += 3600
    farm.oidc.poll()
    await asyncio.sleep(0.001)
    assert farm.askings == 2
    assert await farm.oidc.identify(farm.issuer.mint()) is not None


def test_keys_of_other_uses_kinds_and_sizes_are_left_out() -> None:
    good = SigningKey.make("good", "RS256")
    small = SigningKey.make("small", "RS256", bits=1024)
    huge = {**good.jwk(), "kid": "huge", "n": b64(bytes([0xFF]) * 2000)}
    other_curve = SigningKey.make("p384", "ES384")
    private = {**good.jwk(), "kid": "private", "d": "AQAB"}
    found = parse_keys(
        {
            "keys": [
                {**good.jwk(), "kid": "enc", "use": "enc"},
                {**good.jwk(), "kid": "wrap", "key_ops": ["wrapKey"]},
                {**good.jwk(), "kid": "odd", "key_ops": "verify"},
                huge,
                {**good.jwk(), "kid": "hs", "alg": "HS256"},
                {**good.jwk(), "kid": ["x"]},
                {"kty": "oct", "k": b64(good.pem()), "kid": "oct", "alg": "HS256"},
                small.jwk(),
                other_curve.jwk(),
                private,
                good.jwk(),
            ]
        }
    )
    assert [(key.id, *key.algorithms) for key in found] == [("good", "RS256")]


def test_an_rsa_key_without_algorithm_is_for_both_of_its_kind() -> None:
    plain = SigningKey.make("plain", "RS256").jwk()
    del plain["alg"]
    assert parse_keys({"keys": [plain]})[0].algorithms == {"RS256", "PS256"}


async def test_a_token_without_key_id_needs_that_only_one_key_fits() -> None:
    farm = Farm("RS256", "ES256")
    nameless = farm.issuer.forge({"alg": "RS256"}, farm.issuer.claims(), farm.issuer.key)
    assert await farm.oidc.identify(nameless) is not None
    twin = {**farm.keys["RS256"].jwk(), "kid": "twin"}
    farm.published = [*farm.published, twin]
    farm.now.time += 3600
    farm.oidc.poll()
    await asyncio.sleep(0.001)
    assert "does not know" in await farm.refused(
        farm.issuer.forge({"alg": "RS256"}, farm.issuer.claims(sub="x"), farm.issuer.key)
    )


async def test_without_any_key_nobody_can_be_judged_which_is_a_503(farm: Farm) -> None:
    farm.away = True
    for _ in range(3):
        with pytest.raises(IssuerUnavailable) as caught:
            await farm.oidc.identify(farm.issuer.mint())
        assert (caught.value.status, caught.value.retry_after) == (503, 5)
    assert len(farm.asked) == 1
    farm.away = False
    farm.now.time += 5
    assert await farm.oidc.identify(farm.issuer.mint()) is not None


async def test_requests_that_come_at_once_share_one_asking(farm: Farm) -> None:
    tokens = [farm.issuer.mint(sub=str(number)) for number in range(20)]
    found = await asyncio.gather(*map(farm.oidc.identify, tokens))
    assert all(found)
    assert farm.askings == 1


async def test_a_request_that_is_given_up_stops_nobody_elses(farm: Farm) -> None:
    first = asyncio.create_task(farm.oidc.identify(farm.issuer.mint(sub="1")))
    second = asyncio.create_task(farm.oidc.identify(farm.issuer.mint(sub="2")))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is not None
    assert farm.askings == 1


def test_an_id_token_is_json_and_its_claims_have_no_infinity() -> None:
    payload = json.dumps({**GOOD, "exp": float("inf")}).encode()
    token = JobIssuer.forge({"alg": "none"}, payload)
    farm = Farm.__new__(Farm)
    farm.now = Now()
    judge = Oidc([JOB], farm.fetch, wall=farm.now, clock=farm.now)
    assert asyncio.run(judge.identify(token)) is None
