"""Rules between keys: what no single value can show.

Purpose: each rule is one function over finished settings; it is asked only when every key it
looks at could be read, so that one mistake is not reported twice in other words.

Reading: the README's part on clients. Non-goals: rules inside one value (`proxy.config.values`)
or inside one stanza (`proxy.config.clients`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from proxy.config.mistakes import Mistakes
from proxy.config.settings import LIBRARIES, Network, Settings


@dataclass(frozen=True, slots=True)
class Rule:
    """`check` returns what is wrong, or an empty text. `keys[0]` is the one that is blamed."""

    keys: tuple[str, ...]
    check: Callable[[Settings], str]


def check_rules(settings: Settings, places: Mapping[str, str], mistakes: Mistakes) -> None:
    """Note every rule that does not hold; `places` says where a key was given.

    A default that breaks a rule is blamed in the file, where it has to be written.
    """
    unwritten = settings.file or "defaults"
    broken = frozenset(mistakes.broken)
    for rule in RULES:
        if broken.intersection(rule.keys):
            continue
        if wrong := rule.check(settings):
            mistakes.add(places.get(rule.keys[0], f"{unwritten}:{rule.keys[0]}"), wrong)


def _clients_off_loopback(settings: Settings) -> str:
    if settings.clients or settings.oidc or settings.server.listen.is_loopback:
        return ""
    return (
        f"{settings.server.listen} is not loopback and no [[clients]] (or [[oidc]]) are configured:"
        " everybody could use the pull token; add a client or listen on 127.0.0.1"
    )


def _admin_token(settings: Settings) -> str:
    admin = settings.server.admin_listen
    if admin is None or admin.is_loopback or settings.server.admin_token_file:
        return ""
    return f"{admin} is not loopback: set admin_token_file, or listen on 127.0.0.1"


def _clients_behind_front(settings: Settings) -> str:
    if not settings.server.trusted_proxies or settings.clients or settings.oidc:
        return ""
    return (
        "trusted_proxies without [[clients]]: behind a front everybody looks local;"
        " add the clients that may pass"
    )


def _clients_among_fronts(settings: Settings) -> str:
    fronts = settings.server.trusted_proxies
    for client in settings.clients:
        if client.networks and all(
            any(_lies_in(network, front) for front in fronts) for network in client.networks
        ):
            return (
                f"the networks of the client {client.name} lie in server.trusted_proxies, and a"
                " front is no client: nobody could be it; name the fronts alone there"
            )
    return ""


def _lies_in(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def _tls_pair(settings: Settings) -> str:
    server = settings.server
    if (server.tls_certificate is None) == (server.tls_key is None):
        return ""
    return "tls_certificate and tls_key belong together: give both, or none"


def _client_ca(settings: Settings) -> str:
    if settings.server.client_ca is None or settings.server.tls_certificate is not None:
        return ""
    return "client certificates are shown in TLS: set tls_certificate and tls_key too"


def _subjects(settings: Settings) -> str:
    named = next((client.name for client in settings.clients if client.subjects), "")
    if not named or settings.server.client_ca is not None:
        return ""
    return f"{named} has subjects and server.client_ca is not set: nobody could show a certificate"


def _first_plain(settings: Settings, named: Iterable[tuple[str, str]]) -> str:
    """The first name whose URL is not protected by TLS; "" where there is none, or it may be so."""
    if settings.upstream.allow_insecure:
        return ""
    return next((name for name, url in named if not url.startswith("https:")), "")


def _plain_issuer(settings: Settings) -> str:
    named = _first_plain(settings, ((given.name, given.issuer) for given in settings.oidc))
    if not named:
        return ""
    return f"{named}: anybody on the way could put in keys of their own: use an https issuer"


def _two_listeners(settings: Settings) -> str:
    listen, admin = settings.server.listen, settings.server.admin_listen
    if admin is None or not admin.port or admin.port != listen.port:
        return ""
    everywhere = {"0.0.0.0", "::"}  # noqa: S104  # compared, not bound
    if admin.host != listen.host and not everywhere & {admin.host, listen.host}:
        return ""
    return f"{admin} is taken by server.listen: choose another port"


def _plain_registry(settings: Settings) -> str:
    named = _first_plain(settings, ((given.alias, given.url) for given in settings.registries))
    return f"{named}: plain http would show tokens to the network: use https" if named else ""


def _plain_repository(settings: Settings) -> str:
    given = ((given.name, given.upstream) for given in settings.repositories)
    named = _first_plain(settings, given)
    return f"{named}: plain http would let anybody on the way change it: use https" if named else ""


def _plain_http(key: str) -> Rule:
    def check(settings: Settings) -> str:
        if settings.upstream.allow_insecure or getattr(settings.upstream, key).startswith("https:"):
            return ""
        return "plain http would show the pull token to the network: use https (or allow_insecure)"

    return Rule((f"upstream.{key}", "upstream.allow_insecure"), check)


def _static_list(settings: Settings) -> str:
    entitlements = settings.entitlements
    if entitlements.source == "static" and not entitlements.ecosystems:
        return 'source is "static" and the list is empty: nobody could use anything'
    if entitlements.source != "static" and entitlements.ecosystems:
        return 'the list counts only with source = "static"; remove it or set the source'
    return ""


def _platform(settings: Settings) -> str:
    if settings.entitlements.source != "platform":
        return ""
    if not settings.upstream.has_platform:
        return (
            'source is "platform" and upstream.libraries is not the vendor\'s: set upstream.issuer'
            " and upstream.api too, or the pull token would be shown to somebody else's issuer"
        )
    if not any(name in settings.credentials for name in LIBRARIES):
        return 'source is "platform" and there is no pull token to ask it with'
    return ""


def _keyless(settings: Settings) -> str:
    found = (item for held in settings.credentials.values() for item in held)
    if settings.upstream.has_platform or not any(item.identity for item in found):
        return ""
    return (
        "an identity is exchanged at the vendor's issuer and upstream.libraries is not the"
        " vendor's: set upstream.issuer and upstream.api too"
    )


def _shared_places(settings: Settings) -> str:
    if settings.server.workers <= settings.limits.max_upstream_connections:
        return ""
    return "workers share limits.max_upstream_connections, and each of them needs one at least"


def _way_out(settings: Settings) -> str:
    given = settings.upstream
    if given.proxy_password_file is not None and not given.proxy:
        return "counts only with upstream.proxy: name the proxy that it is for"
    if given.proxy.count("/") > 2:
        return "a proxy has no path: scheme, host and port only"
    return ""


RULES = (
    Rule(("upstream.proxy_password_file", "upstream.proxy"), _way_out),
    Rule(("server.listen", "clients", "oidc"), _clients_off_loopback),
    Rule(("server.admin_listen", "server.admin_token_file"), _admin_token),
    Rule(("server.trusted_proxies", "clients", "oidc"), _clients_behind_front),
    Rule(("clients", "server.trusted_proxies"), _clients_among_fronts),
    Rule(("server.tls_certificate", "server.tls_key"), _tls_pair),
    Rule(("server.client_ca", "server.tls_certificate"), _client_ca),
    Rule(("clients", "server.client_ca"), _subjects),
    Rule(("oidc", "upstream.allow_insecure"), _plain_issuer),
    Rule(("registries", "upstream.allow_insecure"), _plain_registry),
    Rule(("repositories", "upstream.allow_insecure"), _plain_repository),
    Rule(("server.admin_listen", "server.listen"), _two_listeners),
    Rule(("server.workers", "limits.max_upstream_connections"), _shared_places),
    _plain_http("libraries"),
    _plain_http("registry"),
    _plain_http("apk"),
    _plain_http("issuer"),
    _plain_http("api"),
    Rule(("upstream.issuer", "upstream.libraries", "upstream.api"), _keyless),
    Rule(("entitlements.ecosystems", "entitlements.source"), _static_list),
    Rule(
        ("entitlements.source", "upstream.libraries", "upstream.issuer", "upstream.api"), _platform
    ),
)
