"""The faces of anygen: the `anygen` command."""
