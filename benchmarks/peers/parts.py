"""All parts, by name."""

from benchmarks.peers import fitting, generating, routing, scoring, sweep
from benchmarks.peers.part import Part

PARTS: dict[str, Part] = {
    **fitting.PARTS,
    **sweep.PARTS,
    **scoring.PARTS,
    **generating.PARTS,
    **routing.PARTS,
}
