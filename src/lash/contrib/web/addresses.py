"""Which addresses may be connected to: those of the public internet, and what the host allows. Pure."""

from collections.abc import Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

#: Addresses of the fourth version in those of the sixth, by where they stand in them.
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))

#: What the standard library takes for public in some of its versions, and is not.
_NEVER: Sequence[Network] = (
    ip_network("100.64.0.0/10"),  # shared by a provider's customers
    ip_network("192.0.0.0/24"),
    ip_network("192.88.99.0/24"),
    ip_network("198.18.0.0/15"),
    ip_network("2001::/23"),
    ip_network("64:ff9b:1::/48"),
    ip_network("2001:db8::/32"),
    ip_network("3fff::/20"),
    ip_network("5f00::/16"),
)


def networks(given: Iterable[str]) -> tuple[Network, ...]:
    """Networks as a host writes them.

    Raises:
        ValueError: One of them is none.
    """
    return tuple(ip_network(each) for each in given)


def may_connect(address: str, allowed: Sequence[Network]) -> bool:
    """Whether an address is public, or in a network that the host allows."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    meant = _meant(parsed)
    if any(each in network for network in allowed for each in (parsed, *meant)):
        return True
    return all(_is_public(each) for each in (parsed, *meant))


def _is_public(address: Address) -> bool:
    if _is_wrapping(address):
        return True  # what it stands for is looked at as well
    if any(address in network for network in _NEVER):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _is_wrapping(address: Address) -> bool:
    return isinstance(address, IPv6Address) and (
        address.ipv4_mapped is not None or address in _NAT64[0]
    )


def _meant(address: Address) -> list[Address]:
    """The addresses of the fourth version that one of the sixth may come out at."""
    if isinstance(address, IPv4Address):
        return []
    number = int(address)
    meant: list[Address | None] = [address.ipv4_mapped, address.sixtofour]
    meant += address.teredo or ()
    if any(address in network for network in _NAT64):
        meant.append(IPv4Address(number & 0xFFFFFFFF))
    if number >> 32 == 0 and number > 1:  # an old form of the mapped ones
        meant.append(IPv4Address(number))
    return [each for each in meant if each is not None]
