"""The leaderboard's web page: static files that need no server, made from the board alone."""

from clsuite.board.site.files import site_files

__all__ = ["site_files"]
